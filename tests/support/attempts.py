"""Attempts made by hand: the facts that agent, wrapper and starter would write, in a journal or in memory."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from telemetry import identity
from telemetry.clock import NANOSECONDS
from telemetry.entries import Entry
from telemetry.facts import (
    STAGES,
    AttemptEnded,
    Fact,
    JobAccepted,
    JobMatched,
    OperationFinished,
    OutputSeen,
    PayloadEnded,
    PayloadStarted,
    StageFinished,
    StageName,
    StageStarted,
    StatusChanged,
    UsageSampled,
    UsageSettled,
    WrapperReaped,
    WrapperSettled,
    WrapperStarted,
)
from telemetry.journal import Journal
from tests.support.clock import JumpClock
from tests.support.journals import ListJournal

WMS_ID = "6f2b7c1e-8d5a-4c39-9d5e-0a1b2c3d4e5f"


def uid_of(job_id: int = 7, attempt: int = 1) -> str:
    """UID of an attempt at the WMS of the tests."""
    return identity.attempt_uid(WMS_ID, job_id, attempt)


def job_matched(job_id: int = 7, attempt: int = 1, **changes: Any) -> JobMatched:
    """An attempt's identity; *changes* win."""
    noon = JumpClock().utc_ns()
    values: dict[str, Any] = {
        "uid": uid_of(job_id, attempt),
        "wms_id": WMS_ID,
        "job_id": job_id,
        "attempt": attempt,
        "claim": "claim",
        "owner": "alice",
        "owner_group": "lhcb_user",
        "vo": "lhcb",
        "site": "LCG.Test.org",
        "computing_element": "ce.test.org",
        "queue": "long",
        "host_name": "node1",
        "pilot_stamp": "stamp",
        "processors": 2,
        "submit_start_utc_ns": noon - 20 * NANOSECONDS,
        "submit_end_utc_ns": noon - 19 * NANOSECONDS,
        "waiting_utc_ns": noon - 18 * NANOSECONDS,
        "match_start_utc_ns": noon - 2 * NANOSECONDS,
        "match_end_utc_ns": noon - 1 * NANOSECONDS,
    }
    return JobMatched(**{**values, **changes})


class Attempt:
    """Plays an attempt on a clock of its own; with a folder the facts go to real journals there."""

    def __init__(self, folder: Path | None = None, clock: JumpClock | None = None, **match: Any) -> None:
        self.clock = clock or JumpClock()
        self.folder = folder
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        self._lists: dict[str, ListJournal] = {}
        self._journals: dict[str, Journal] = {}
        self.match = job_matched(**match)
        self.uid = self.match.uid

    def write(self, fact: Fact, writer: str = "wrapper") -> Entry:
        """Have *writer* write *fact* now."""
        if self.folder is not None:
            if writer not in self._journals:
                self._journals[writer] = Journal(self.folder, writer, self.clock)
            entry = self._journals[writer].append(fact)
        memory = self._lists.setdefault(writer, ListJournal(self.clock, writer))
        in_memory = memory.append(fact)
        return entry if self.folder is not None else in_memory

    @property
    def entries(self) -> list[Entry]:
        """Everything written, writer by writer: not in the order of time."""
        return [entry for journal in self._lists.values() for entry in journal.entries]

    def close(self) -> None:
        """Let the writers' locks go."""
        for journal in self._journals.values():
            journal.close()

    # --- scenes -----------------------------------------------------------------------------------

    def begin(self) -> None:
        """Matched, accepted, and the wrapper runs; its process started 0.3 s before it could write."""
        self.write(self.match, "agent")
        self.clock.advance(0.1)
        self.write(JobAccepted(task="task-1", computing_element="ce.test.org"), "agent")
        start_ns = self.clock.boottime_ns()
        self.clock.advance(0.3)
        self.write(WrapperStarted(pid=100, start_boottime_ns=start_ns, started_by="zygote", version="1.0"))
        self.write(StageStarted(stage="initialize", at_boottime_ns=start_ns))
        self.write(StatusChanged(status="Running", minor_status="Job Initialization"))

    def finish_stage(self, stage: StageName, seconds: float = 1.0, **result: Any) -> None:
        """Let *seconds* pass, end *stage* and begin the next at the same boundary."""
        self.clock.advance(seconds)
        at_ns = self.clock.boottime_ns()
        self.write(StageFinished(stage=stage, at_boottime_ns=at_ns, **{"result": "success", **result}))
        following = STAGES.index(stage) + 1
        if following < len(STAGES):
            self.write(StageStarted(stage=STAGES[following], at_boottime_ns=at_ns))

    def operation(self, stage: StageName, name: str = "http", seconds: float = 0.25, **changes: Any) -> None:
        """A part of *stage* that lasts *seconds*."""
        start_ns = self.clock.boottime_ns()
        self.clock.advance(seconds)
        self.write(
            OperationFinished(
                name=name, stage=stage, start_boottime_ns=start_ns, end_boottime_ns=self.clock.boottime_ns(), **changes
            )
        )

    def start_payload(self) -> None:
        """The exec succeeded."""
        self.write(PayloadStarted(pid=200, start_boottime_ns=self.clock.boottime_ns(), executable="/usr/bin/simulate"))

    def sample(self, user: float, system: float = 0.5, rss_bytes: int = 1 << 20) -> None:
        """One look at the payload's tree."""
        self.write(
            UsageSampled(
                stage="execute",
                cpu_user_seconds=user,
                cpu_system_seconds=system,
                cpu_method="wait4",
                wall_seconds=1.0,
                rss_bytes=rss_bytes,
            )
        )

    def end_payload(self, exit_code: int | None = 0, signal: int | None = None, user: float = 3.0) -> None:
        """The payload has ended and its use is settled, its output counted."""
        self.write(
            PayloadEnded(
                exit_code=exit_code,
                signal=signal,
                end_boottime_ns=self.clock.boottime_ns(),
                user_cpu_seconds=user,
                system_cpu_seconds=0.5,
                max_rss_bytes=1 << 20,
            )
        )
        self.write(OutputSeen(stream="stdout", lines=40, bytes=4000, peek_lines_dropped=20))
        self.write(OutputSeen(stream="stderr", lines=2, bytes=30))
        self.write(
            UsageSettled(
                cpu_user_seconds=user,
                cpu_system_seconds=0.5,
                cpu_method="wait4",
                cpu_uncertainty_seconds=0.01,
                orphan_cpu_seconds=0.0,
                peak_rss_bytes=1 << 20,
                peak_swap_bytes=0,
                swap_method="cgroup2",
                peak_threads=5,
                threads_method="sampled",
                methods={"cpu": "wait4", "peak_rss": "walk"},
            )
        )

    def end(self, status: str = "Done", minor_status: str = "Execution Complete", error_type: str = "") -> None:
        """Finalize: the wrapper settles, the attempt ends, the wrapper is reaped."""
        self.write(WrapperSettled(wrapper_cpu_seconds=0.2))
        self.write(AttemptEnded(status=status, minor_status=minor_status, error_type=error_type))
        self.finish_stage("finalize", 0.5)
        self.clock.advance(0.05)
        self.write(
            WrapperReaped(
                pid=100,
                exit_code=0,
                signal=None,
                end_boottime_ns=self.clock.boottime_ns(),
                user_cpu_seconds=0.2,
                system_cpu_seconds=0.1,
            ),
            "agent",
        )


def play(folder: Path | None = None, *, during: Callable[[Attempt], None] | None = None, **changes: Any) -> Attempt:
    """A whole attempt that ends as Done; *during* runs while the payload does. Its journals are closed."""
    ending = {name: changes.pop(name) for name in ("status", "minor_status", "error_type") if name in changes}
    attempt = Attempt(folder, **changes)
    attempt.begin()
    attempt.operation("initialize")
    attempt.operation("initialize")
    for stage in STAGES[:3]:
        attempt.finish_stage(stage)
    attempt.start_payload()
    attempt.sample(user=1.0)
    if during is not None:
        during(attempt)
    attempt.clock.advance(2.0)
    attempt.end_payload()
    attempt.finish_stage("execute")
    attempt.finish_stage("process_job_outputs")
    attempt.end(**ending)
    attempt.close()
    return attempt
