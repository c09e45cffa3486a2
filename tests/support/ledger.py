"""Attempts for the ledger's tests: a whole life as journal entries."""

from dataclasses import dataclass, field
from typing import Any

from telemetry.clock import NANOSECONDS
from telemetry.entries import Entry
from telemetry.facts import (
    STAGES,
    AttemptEnded,
    DataMoved,
    Fact,
    HeartbeatMade,
    JobAccepted,
    JobMatched,
    OutputSeen,
    PayloadEnded,
    PayloadPlanned,
    PayloadStarted,
    StageFinished,
    StageStarted,
    StatusChanged,
    UsageSampled,
    UsageSettled,
    WrapperReaped,
    WrapperSettled,
    WrapperStarted,
)
from telemetry.identity import attempt_uid
from telemetry.ledger.builder import build
from telemetry.ledger.record import Record
from tests.support.clock import NOON_UTC_NS, JumpClock
from tests.support.journals import ListJournal

WMS_ID = "7c0c1b1e-6c3f-4d53-9a57-2f3f8a3f0f11"


def matched(job_id: int = 1, attempt: int = 1, **changes: Any) -> JobMatched:
    """A match of a job of a user at a site."""
    values: dict[str, Any] = {
        "uid": attempt_uid(changes.get("wms_id", WMS_ID), job_id, attempt),
        "wms_id": WMS_ID,
        "job_id": job_id,
        "attempt": attempt,
        "claim": "c1",
        "owner": "ada",
        "owner_group": "users",
        "vo": "gridpp",
        "site": "LCG.Example.org",
        "computing_element": "ce1",
        "submit_start_utc_ns": NOON_UTC_NS - 30 * NANOSECONDS,
        "submit_end_utc_ns": NOON_UTC_NS - 29 * NANOSECONDS,
        "waiting_utc_ns": NOON_UTC_NS - 28 * NANOSECONDS,
        "match_start_utc_ns": NOON_UTC_NS - 2 * NANOSECONDS,
        "match_end_utc_ns": NOON_UTC_NS - 1 * NANOSECONDS,
    }
    return JobMatched(**{**values, **changes})


@dataclass
class Life:
    """Writes an attempt's facts the way agent, wrapper, starter and recovery do."""

    clock: JumpClock = field(default_factory=JumpClock)
    journals: dict[str, ListJournal] = field(default_factory=dict)
    start_ns: int = 0

    def emit(self, fact: Fact, writer: str = "wrapper") -> Entry:
        """Append *fact* to *writer*'s journal now."""
        return self.journals.setdefault(writer, ListJournal(self.clock, writer)).append(fact)

    @property
    def entries(self) -> list[Entry]:
        """What all writers have written."""
        return [entry for journal in self.journals.values() for entry in journal.entries]

    def record(self) -> Record:
        """The record of it all."""
        record = build(self.entries)
        assert record is not None
        return record

    def match(self, fact: JobMatched | None = None) -> None:
        """The agent takes the job and hands it to the computing element."""
        self.emit(fact or matched(), "agent")
        self.emit(JobAccepted(task="t1", computing_element="ce1"), "agent")

    def start_wrapper(self, import_seconds: float = 0.05) -> None:
        """The wrapper process starts; its first fact comes after the imports."""
        self.start_ns = self.clock.boottime_ns()
        self.clock.advance(import_seconds)
        self.emit(WrapperStarted(pid=10, start_boottime_ns=self.start_ns, started_by="zygote", version="1"))
        self.emit(StageStarted(stage="initialize", at_boottime_ns=self.start_ns))
        self.emit(StatusChanged(status="Running", minor_status="Job Initialization"))

    def next_stage(self, stage: str, seconds: float = 0.0, result: str = "success", error_type: str = "") -> None:
        """After *seconds* the stage ends, and the one after it starts at the same instant."""
        self.clock.advance(seconds)
        at = self.clock.boottime_ns()
        self.emit(StageFinished(stage=stage, at_boottime_ns=at, result=result, error_type=error_type))  # type: ignore[arg-type]
        following = STAGES[STAGES.index(stage) + 1]  # type: ignore[arg-type]
        self.emit(StageStarted(stage=following, at_boottime_ns=at))

    def payload_starts(self) -> None:
        """Exec is planned and succeeds."""
        self.emit(PayloadPlanned(starter_pid=11))
        self.emit(PayloadStarted(pid=12, start_boottime_ns=self.clock.boottime_ns(), executable="/bin/true"))

    def sample(self, user: float, system: float, seconds: float = 1.0) -> None:
        """After *seconds* the watchdog looks at the payload."""
        self.clock.advance(seconds)
        self.emit(
            UsageSampled(
                stage="execute", cpu_user_seconds=user, cpu_system_seconds=system, cpu_method="cgroup2",
                wall_seconds=1.0, rss_bytes=1 << 20, processes=2, read_bytes=10, written_bytes=20,
            )
        )  # fmt: skip
        self.emit(OutputSeen(stream="stdout", lines=5, bytes=50))

    def payload_ends(self, user: float, system: float, seconds: float = 1.0, exit_code: int | None = 0) -> None:
        """After *seconds* the payload ends, and its account is settled."""
        self.clock.advance(seconds)
        self.emit(
            PayloadEnded(
                exit_code=exit_code, signal=None if exit_code is not None else 9,
                end_boottime_ns=self.clock.boottime_ns(), user_cpu_seconds=user, system_cpu_seconds=system,
                max_rss_bytes=1 << 21,
            )
        )  # fmt: skip
        self.emit(
            UsageSettled(
                cpu_user_seconds=user, cpu_system_seconds=system, cpu_method="cgroup2", cpu_uncertainty_seconds=0.001,
                orphan_cpu_seconds=0.0, peak_rss_bytes=1 << 22, memory_method="cgroup2", max_processes=3,
                read_bytes=100, written_bytes=200,
            )
        )  # fmt: skip
        self.emit(OutputSeen(stream="stdout", lines=10, bytes=100, peek_lines_dropped=2))
        self.emit(OutputSeen(stream="stderr", lines=1, bytes=7))

    def end(self, status: str = "Done", minor_status: str = "Execution Complete", error_type: str = "") -> None:
        """The attempt is closed by the wrapper; finalize and the agent go on a little."""
        self.emit(WrapperSettled(wrapper_cpu_seconds=0.25, work_bytes=4096))
        self.emit(AttemptEnded(status=status, minor_status=minor_status, error_type=error_type))
        self.clock.advance(0.01)
        self.emit(StageFinished(stage="finalize", at_boottime_ns=self.clock.boottime_ns(), result="success"))
        self.reaped()

    def reaped(self) -> None:
        """The agent's wait4 sees the wrapper end."""
        self.emit(
            WrapperReaped(
                pid=10, exit_code=0, signal=None, end_boottime_ns=self.clock.boottime_ns(), user_cpu_seconds=0.2,
                system_cpu_seconds=0.1,
            ),
            "agent",
        )  # fmt: skip

    def recover(self, seconds: float = 2.0) -> None:
        """The agent closes the attempt of a dead wrapper."""
        self.clock.advance(seconds)
        self.emit(
            AttemptEnded(
                status="Failed", minor_status="JobWrapper execution", error_type="wrapper_died", recorded_by="agent"
            ),
            "recovery",
        )


def whole_life(fact: JobMatched | None = None, *, user: float = 1.5, system: float = 0.25) -> Life:
    """A job that succeeds: downloads, computes two seconds, uploads."""
    life = Life()
    life.match(fact)
    life.start_wrapper()
    life.next_stage("initialize", 0.1)
    life.emit(DataMoved(kind="input_sandbox", files=1, bytes=1000))
    life.next_stage("transfer_input_sandbox", 0.3)
    life.emit(DataMoved(kind="input_data", files=2, bytes=500))
    life.emit(DataMoved(kind="input_data", files=1, bytes=50))
    life.next_stage("resolve_input_data", 0.2)
    life.payload_starts()
    life.sample(user / 2, system / 2)
    life.emit(HeartbeatMade(values={"CPUConsumed": user / 2}))
    life.payload_ends(user, system)
    life.next_stage("execute", 0.001)
    life.emit(DataMoved(kind="output_sandbox", files=1, bytes=300))
    life.next_stage("process_job_outputs", 0.4)
    life.end()
    return life
