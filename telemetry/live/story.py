"""Facts of an attempt -> its parts with their times in UTC: all that the spans say. Pure.

Stages share their boundaries. What a dead wrapper left open ends with its last sign of life,
as `wrapper_died`; a duration never reaches across boots.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TypeVar

from telemetry import catalogue as names
from telemetry.entries import Entry
from telemetry.facts import (
    STAGES,
    AttemptEnded,
    Fact,
    JobMatched,
    OperationFinished,
    PayloadEnded,
    PayloadStarted,
    StageFinished,
    StageName,
    StageStarted,
    UsageSettled,
    WrapperStarted,
    methods_text,
)
from telemetry.journal import merge
from telemetry.live.kills import signal_name
from telemetry.live.moments import Attributes, Moment, Value, known, moment
from telemetry.live.stage_usage import StageUsage, usage_by_stage
from telemetry.live.timeline import Timeline

F = TypeVar("F", bound=Fact)

WRAPPER_DIED = "wrapper_died"


class Unidentified(ValueError):
    """The journal has no JobMatched: nobody knows whose facts these are."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Something that lasted. Its span id follows from *path* and *sequence*."""

    path: str
    name: str
    start_ns: int
    end_ns: int
    parent: str = ""
    sequence: int = 0
    client: bool = False
    error_type: str = ""
    message: str = ""
    attributes: Attributes = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Story:
    """One attempt: who it is, its parts (the root first) and its moments."""

    match: JobMatched
    version: str
    parts: tuple[Part, ...]
    moments: tuple[Moment, ...]


def tell(entries: Iterable[Entry]) -> Story:
    """The story in *entries*, in whatever order they come.

    Raises:
        Unidentified: no JobMatched among them.
    """
    return _Teller(merge(list(entries))).story()


class _Teller:
    """One pass over a merged journal."""

    def __init__(self, entries: list[Entry]) -> None:
        self._entries = entries
        self._timeline = Timeline(entries)
        self._started = {fact.stage: (entry, fact) for entry, fact in reversed(self._all(StageStarted))}
        self._finished = {fact.stage: (entry, fact) for entry, fact in reversed(self._all(StageFinished))}

    def story(self) -> Story:
        match = self._first(JobMatched)
        if match is None:
            raise Unidentified("the journal has no JobMatched; it is not the journal of an attempt")
        wrapper = self._first(WrapperStarted)
        children = [*self._stages(), *self._operations(), *self._payload()]
        moments = tuple(each for entry in self._entries if (each := moment(entry.fact, self._timeline.of(entry))))
        return Story(
            match=match[1],
            version=wrapper[1].version if wrapper else "",
            parts=(self._root(match[1], wrapper, children), *children),
            moments=moments,
        )

    def _all(self, kind: type[F]) -> list[tuple[Entry, F]]:
        return [(entry, entry.fact) for entry in self._entries if isinstance(entry.fact, kind)]

    def _first(self, kind: type[F]) -> tuple[Entry, F] | None:
        return next(iter(self._all(kind)), None)

    # --- the root ---------------------------------------------------------------------------------

    def _root(self, match: JobMatched, wrapper: tuple[Entry, WrapperStarted] | None, children: list[Part]) -> Part:
        ended = self._first(AttemptEnded)
        if wrapper:
            start_ns = self._timeline.utc_ns(wrapper[0].boot_id, wrapper[1].start_boottime_ns)
        else:
            start_ns = min((part.start_ns for part in children), default=self._timeline.of(self._entries[0]))
        error_type, message = _root_error(ended[1] if ended else None)
        return Part(
            path=names.ROOT_PATH,
            name=names.ROOT_SPAN,
            start_ns=start_ns,
            end_ns=max(start_ns, self._root_end_ns(wrapper[0] if wrapper else self._entries[-1], ended, children)),
            error_type=error_type,
            message=message,
            attributes={**_identity(match), **_ending(ended[1] if ended else None)},
        )

    def _root_end_ns(self, first: Entry, ended: tuple[Entry, AttemptEnded] | None, children: list[Part]) -> int:
        """The end of finalize; else of what is known: a recovery may write long after the death."""
        last_child_ns = max((part.end_ns for part in children), default=0)
        if "finalize" in self._finished:
            return last_child_ns
        if ended is None:
            return max(last_child_ns, self._timeline.last_sign_utc_ns(first.boot_id))
        if ended[1].recorded_by == "agent" and children:
            return last_child_ns
        return max(last_child_ns, self._timeline.of(ended[0]))

    # --- stages -----------------------------------------------------------------------------------

    def _stages(self) -> Iterator[Part]:
        usage = usage_by_stage(entry.fact for entry in self._entries)
        for index, stage in enumerate(STAGES):
            if stage not in self._started and stage not in self._finished:
                continue
            start = self._boundary(index, stage)
            end_ns, result, error_type, message = self._stage_end(index, stage, start[0])
            yield Part(
                path=names.stage_path(stage),
                parent=names.ROOT_PATH,
                name=names.stage_span(stage),
                start_ns=start[1],
                end_ns=max(start[1], end_ns),
                error_type=error_type,
                message=message,
                attributes={names.STAGE_NAME: stage, names.STAGE_RESULT: result, **_stage_usage(usage.get(stage))},
            )

    def _boundary(self, index: int, stage: StageName) -> tuple[str, int]:
        """Boot and UTC of a stage's start; if that line was damaged, the end of the stage before, or its own."""
        if stage in self._started:
            entry, started = self._started[stage]
            return entry.boot_id, self._timeline.utc_ns(entry.boot_id, started.at_boottime_ns)
        before = self._finished.get(STAGES[index - 1]) if index else None
        entry, finished = before or self._finished[stage]
        return entry.boot_id, self._timeline.utc_ns(entry.boot_id, finished.at_boottime_ns)

    def _stage_end(self, index: int, stage: StageName, boot_id: str) -> tuple[int, str, str, str]:
        if stage in self._finished:
            entry, fact = self._finished[stage]
            same_boot = entry.boot_id == boot_id
            end_ns = (
                self._timeline.utc_ns(boot_id, fact.at_boottime_ns)
                if same_boot
                else self._timeline.last_sign_utc_ns(boot_id)
            )
            failed = fact.result not in ("success", "skip")
            error_type = fact.error_type or fact.result if failed else ""
            return end_ns, fact.result, error_type, fact.message if failed else ""
        following = STAGES[index + 1] if index + 1 < len(STAGES) else None
        if (
            following is not None and following in self._started
        ):  # the line of our end was damaged, the boundary stands in the next
            return self._boundary(index + 1, following)[1], "success", "", ""
        return self._timeline.last_sign_utc_ns(boot_id), "error", WRAPPER_DIED, "the wrapper died in this stage"

    # --- operations and the payload ---------------------------------------------------------------

    def _operations(self) -> Iterator[Part]:
        seen: Counter[str] = Counter()
        for entry, fact in self._all(OperationFinished):
            path = names.operation_path(fact.stage, fact.name)
            start_ns = self._timeline.utc_ns(entry.boot_id, fact.start_boottime_ns)
            yield Part(
                path=path,
                sequence=seen[path],
                parent=names.stage_path(fact.stage),
                name=fact.name,
                start_ns=start_ns,
                end_ns=max(start_ns, self._timeline.utc_ns(entry.boot_id, fact.end_boottime_ns)),
                client=fact.kind == "client",
                error_type=fact.error_type,
                message=fact.message,
                attributes=dict(fact.attributes),
            )
            seen[path] += 1

    def _payload(self) -> Iterator[Part]:
        started = self._first(PayloadStarted)
        if started is None:
            return
        entry, fact = started
        ended = self._first(PayloadEnded)
        start_ns = self._timeline.utc_ns(entry.boot_id, fact.start_boottime_ns)
        end_ns = self._timeline.last_sign_utc_ns(entry.boot_id)
        if ended and ended[0].boot_id == entry.boot_id:
            end_ns = self._timeline.utc_ns(entry.boot_id, ended[1].end_boottime_ns)
        settled = self._first(UsageSettled)
        error_type, exit_attributes = _exit(ended[1] if ended else None)
        yield Part(
            path=names.PAYLOAD_PATH,
            parent=names.stage_path("execute"),
            name=PurePosixPath(fact.executable).name or "payload",
            start_ns=start_ns,
            end_ns=max(start_ns, end_ns),
            client=True,
            error_type=error_type,
            attributes={
                names.EXECUTABLE_NAME: PurePosixPath(fact.executable).name,
                names.EXECUTABLE_PATH: fact.executable,
                names.PROCESS_PID: fact.pid,
                **exit_attributes,
                **_usage(settled[1] if settled else None),
            },
        )


def _exit(ended: PayloadEnded | None) -> tuple[str, dict[str, Value]]:
    """`error.type` (empty for exit code 0) and the attributes of the payload's end, by the CLI span convention."""
    if ended is None:
        return WRAPPER_DIED, {}
    if ended.signal is not None:
        return signal_name(ended.signal), {names.EXIT_CODE: 128 + ended.signal, names.PAYLOAD_SIGNAL: ended.signal}
    code = ended.exit_code or 0
    return (str(code) if code else ""), {names.EXIT_CODE: code}


def _usage(settled: UsageSettled | None) -> dict[str, Value]:
    if settled is None:
        return {}
    return {
        names.PAYLOAD_CPU_USER: settled.cpu_user_seconds,
        names.PAYLOAD_CPU_SYSTEM: settled.cpu_system_seconds,
        names.PAYLOAD_CPU_METHOD: settled.cpu_method,
        names.PAYLOAD_CPU_UNCERTAINTY: settled.cpu_uncertainty_seconds,
        names.PAYLOAD_ORPHAN_CPU: settled.orphan_cpu_seconds,
        names.PAYLOAD_PEAK_RSS: settled.peak_rss_bytes,
        names.PAYLOAD_READ: settled.read_bytes,
        names.PAYLOAD_WRITTEN: settled.written_bytes,
        names.PAYLOAD_MINOR_FAULTS: settled.minor_faults,
        names.PAYLOAD_MAJOR_FAULTS: settled.major_faults,
        names.PAYLOAD_SWITCHES: settled.voluntary_switches,
        names.PAYLOAD_PREEMPTIONS: settled.involuntary_switches,
        **known({names.PAYLOAD_MEMORY_METHOD: settled.memory_method, names.PAYLOAD_IO_METHOD: settled.io_method}),
        **known({names.PAYLOAD_METHODS: methods_text(settled.methods)}),
        **_peaks(settled),
    }


def _peaks(settled: UsageSettled) -> dict[str, Value]:
    """Those that somebody has told, each with its method."""
    peaks = {
        names.PAYLOAD_PEAK_SWAP: settled.peak_swap_bytes,
        names.PAYLOAD_PEAK_MEMORY_SWAP: settled.peak_memory_swap_bytes,
        names.PAYLOAD_PEAK_THREADS: settled.peak_threads,
    }
    methods = {names.PAYLOAD_SWAP_METHOD: settled.swap_method, names.PAYLOAD_THREADS_METHOD: settled.threads_method}
    return {**{name: value for name, value in peaks.items() if value is not None}, **known({**methods})}


def _stage_usage(usage: StageUsage | None) -> dict[str, Value]:
    if usage is None:
        return {}
    return {
        names.STAGE_PAYLOAD_CPU: usage.payload_cpu_seconds,
        names.STAGE_WRAPPER_CPU: usage.wrapper_cpu_seconds,
        names.STAGE_READ: usage.read_bytes,
        names.STAGE_WRITTEN: usage.written_bytes,
    }


def _identity(match: JobMatched) -> dict[str, Value]:
    return known(
        {
            names.JOB_ID: match.job_id,
            names.JOB_ATTEMPT: match.attempt,
            names.JOB_UID: match.uid,
            names.JOB_NAME: match.job_name,
            names.JOB_GROUP: match.job_group,
            names.JOB_TYPE: match.job_type,
            names.JOB_OWNER: match.owner,
            names.JOB_OWNER_GROUP: match.owner_group,
            names.JOB_PROCESSORS: match.processors,
            names.VO_NAME: match.vo,
            names.PILOT_STAMP: match.pilot_stamp,
            names.BATCH_SYSTEM: match.batch_system,
            names.BATCH_JOB_ID: match.batch_job_id,
            names.CLOCK_OFFSET: match.clock_offset_seconds,
        }
    )


def _ending(ended: AttemptEnded | None) -> dict[str, Value]:
    if ended is None:
        return {}
    return {
        names.JOB_STATUS: ended.status,
        names.JOB_MINOR_STATUS: ended.minor_status,
        names.RECORDED_BY: ended.recorded_by,
    }


def _root_error(ended: AttemptEnded | None) -> tuple[str, str]:
    if ended is None:
        return WRAPPER_DIED, "the journal has no end: the wrapper died"
    if ended.error_type or ended.status in ("Failed", "Killed"):
        return ended.error_type or ended.status.lower(), ended.minor_status
    return "", ""
