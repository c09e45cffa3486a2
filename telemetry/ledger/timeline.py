"""When things of an attempt happened, in whole microseconds that add up. Pure.

Durations are differences of CLOCK_BOOTTIME within the wrapper's boot. UTC times follow from one
anchor: the wall clock at the moment at which the wrapper's first fact was written. So a step of
the wall clock during the job changes no duration and no distance between two times.
"""

from dataclasses import dataclass

from telemetry.entries import Entry
from telemetry.facts import (
    ACCOUNTED_STAGES,
    STAGES,
    KillFinished,
    PayloadEnded,
    PayloadStarted,
    StageFinished,
    StageStarted,
    WrapperReaped,
    WrapperStarted,
)
from telemetry.ledger.selection import OUTSIDE_WRITERS, Attempt


@dataclass(frozen=True)
class Timeline:
    """UTC and durations of an attempt, in microseconds."""

    start_utc_us: int
    #: By accounted stage, in order; their sum is the wall clock.
    stage_us: dict[str, int]
    payload_us: int
    #: From the last look at the payload's CPU to its end: what nobody has measured.
    unsampled_us: int
    record_utc_us: int

    @property
    def wall_us(self) -> int:
        """From the start of the wrapper process to the end of process_job_outputs."""
        return sum(self.stage_us.values())

    @property
    def end_utc_us(self) -> int:
        """Start plus wall clock."""
        return self.start_utc_us + self.wall_us


def micros(nanoseconds: int) -> int:
    """*nanoseconds* as whole microseconds, half up."""
    return (nanoseconds + 500) // 1000


def timeline(attempt: Attempt, last_look_ns: int | None) -> Timeline:
    """The times of *attempt*; *last_look_ns* is the boottime of the last measurement of the payload's CPU.

    An attempt whose wrapper never started has no wall clock, and starts when it ended.
    """
    anchor = attempt.wrapper_start
    if anchor is None or not isinstance(anchor.fact, WrapperStarted):
        end = micros(attempt.ended_entry.utc_ns)
        return Timeline(end, dict.fromkeys(ACCOUNTED_STAGES, 0), 0, 0, end)
    start_ns = anchor.fact.start_boottime_ns
    last_sign_ns = max(start_ns, *_signs_of_life(attempt))
    payload_start, payload_end = _payload(attempt, last_sign_ns)
    unsampled = payload_end - max(payload_start, last_look_ns or payload_start)
    ended = attempt.ended_entry
    utc_ns = ended.utc_ns
    if ended.boot_id == anchor.boot_id:
        utc_ns = anchor.utc_ns + ended.boottime_ns - anchor.boottime_ns
    return Timeline(
        start_utc_us=micros(anchor.utc_ns + start_ns - anchor.boottime_ns),
        stage_us=_shares(attempt, start_ns, last_sign_ns),
        payload_us=micros(payload_end - start_ns) - micros(payload_start - start_ns),
        unsampled_us=max(0, micros(unsampled)),
        record_utc_us=micros(utc_ns),
    )


def _signs_of_life(attempt: Attempt) -> list[int]:
    signs = [
        entry.boottime_ns
        for entry in attempt.on_node
        # What recovery has killed had lived until then.
        if entry.writer not in OUTSIDE_WRITERS or isinstance(entry.fact, KillFinished)
    ]
    facts = (entry.fact for entry in attempt.on_node)
    return signs + [fact.end_boottime_ns for fact in facts if isinstance(fact, PayloadEnded | WrapperReaped)]


def _payload(attempt: Attempt, last_sign_ns: int) -> tuple[int, int]:
    """Boottimes of the payload's start and end; of one that never started, twice the same."""
    started = next((each.fact for each in attempt.on_node if isinstance(each.fact, PayloadStarted)), None)
    if started is None:
        return last_sign_ns, last_sign_ns
    ended = next((each.fact for each in attempt.on_node if isinstance(each.fact, PayloadEnded)), None)
    end_ns = ended.end_boottime_ns if ended else last_sign_ns
    return started.start_boottime_ns, max(started.start_boottime_ns, end_ns)


def _shares(attempt: Attempt, start_ns: int, last_sign_ns: int) -> dict[str, int]:
    """The stages' shares: differences of the rounded boundaries, so that they sum exactly.

    A stage without an end reaches to the start of the next one; the stage in which the wrapper
    died reaches to its last sign of life, and those after it have no share.
    """
    started, finished = _boundaries(attempt.on_node)
    shares: dict[str, int] = {}
    boundary, is_alive = start_ns, True
    for index, stage in enumerate(ACCOUNTED_STAGES):
        later = [started[each] for each in STAGES[index + 1 :] if each in started]
        end = boundary
        if stage in finished:
            end = finished[stage]
        elif later:
            end = min(later)
        elif is_alive:
            end, is_alive = last_sign_ns, False
        end = max(end, boundary)
        shares[stage] = micros(end - start_ns) - micros(boundary - start_ns)
        boundary = end
    return shares


def _boundaries(entries: tuple[Entry, ...]) -> tuple[dict[str, int], dict[str, int]]:
    """When each stage started and finished; what was said first holds."""
    started: dict[str, int] = {}
    finished: dict[str, int] = {}
    for entry in entries:
        if isinstance(entry.fact, StageStarted):
            started.setdefault(entry.fact.stage, entry.fact.at_boottime_ns)
        elif isinstance(entry.fact, StageFinished):
            finished.setdefault(entry.fact.stage, entry.fact.at_boottime_ns)
    return started, finished
