"""Facts to accounting record: a pure fold.

The same facts in whatever order and however often they were read give the same record, byte by
byte; so whoever holds a journal (the wrapper, the agent, the next agent) can render the record
that the dead one would have sent.
"""

from collections.abc import Iterable

from telemetry.clock import utc_text
from telemetry.entries import Entry
from telemetry.facts import (
    DataMoved,
    Fact,
    JobMatched,
    KillRequested,
    LimitHit,
    PayloadEnded,
    PayloadPlanned,
    PayloadRefused,
    PayloadStarted,
    StageFinished,
    WrapperReaped,
    WrapperSettled,
    methods_text,
)
from telemetry.identity import trace_id
from telemetry.ledger.record import InvalidRecord, Record, Value
from telemetry.ledger.schema import SCHEMA_VERSION
from telemetry.ledger.selection import Attempt, Unidentified, select
from telemetry.ledger.timeline import Timeline, micros, timeline
from telemetry.ledger.usage import Cpu, cpu, last_look_ns, memory, methods, output, waits

_SUCCESS = ("Done", "Completed")
#: How everybody measures what a record tells beside the payload's use: clocks, the files that it wrote, and its folder.
_SAME_EVERYWHERE = {"wall": "boottime", "wrapper_cpu": "cputime", "output": "tail", "disk": "walk"}


def build(entries: Iterable[Entry]) -> Record | None:
    """The record of the attempt that *entries* (all writers of one control folder) tell of.

    None while the attempt has not ended.

    Raises:
        Unidentified: the attempt has ended, but there is no `JobMatched`.
        InvalidRecord: a fact holds what no record can.
    """
    try:
        return _built(entries)
    except (Unidentified, InvalidRecord):
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise InvalidRecord(f"a fact holds what no record can: {error!r}") from error


def record_of(entries: Iterable[Entry]) -> Record | None:
    """As `build`; None also where the journal is damaged so that it makes no record: that stops nobody else."""
    try:
        return build(entries)
    except (Unidentified, InvalidRecord):
        return None


def _built(entries: Iterable[Entry]) -> Record | None:
    attempt = select(entries)
    if attempt is None:
        return None
    times = timeline(attempt, last_look_ns(attempt))
    used = cpu(attempt, times)
    return Record(
        {
            **_identity(attempt),
            **_job(attempt),
            **_moved(attempt),
            **_times(attempt.matched, times),
            **_cpu(attempt, used),
            **_use(attempt, used),
            **_outcome(attempt),
            "RecordTime": _utc(times.record_utc_us),
        }
    )


def _identity(attempt: Attempt) -> dict[str, Value]:
    match = attempt.matched
    return {
        "UID": match.uid,
        "WMSID": match.wms_id,
        "JobID": match.job_id,
        "Attempt": match.attempt,
        "Revision": attempt.revision,
        "SchemaVersion": SCHEMA_VERSION,
        "TraceID": trace_id(match.uid),
        "VO": match.vo,
        "CE": match.computing_element,
        "Queue": match.queue,
        "PilotStamp": match.pilot_stamp,
        "PilotReference": match.pilot_reference,
        "BatchSystem": match.batch_system,
        "BatchJobID": match.batch_job_id,
        "HostName": match.host_name,
        "RecordedBy": attempt.ended.recorded_by,
    }


def _job(attempt: Attempt) -> dict[str, Value]:
    match, ended = attempt.matched, attempt.ended
    return {
        "User": match.owner,
        "UserGroup": match.owner_group,
        "JobGroup": match.job_group,
        "JobType": match.job_type,
        "JobClass": match.job_class,
        "ProcessingType": match.processing_type,
        "Site": match.site,
        "FinalMajorStatus": ended.status,
        "FinalMinorStatus": ended.minor_status,
    }


def _moved(attempt: Attempt) -> dict[str, Value]:
    moves = attempt.facts(DataMoved)

    def files(kind: str) -> int:
        return sum(each.files for each in moves if each.kind == kind)

    def size(kind: str) -> int:
        return sum(each.bytes for each in moves if each.kind == kind)

    settled = attempt.facts(WrapperSettled)
    return {
        "InputDataSize": size("input_data"),
        "OutputDataSize": size("output_data"),
        "InputDataFiles": files("input_data"),
        "OutputDataFiles": files("output_data"),
        "DiskSpace": settled[-1].work_bytes if settled else None,
        "InputSandBoxSize": size("input_sandbox"),
        "OutputSandBoxSize": size("output_sandbox"),
        "ProcessedEvents": 0,
    }


def _times(match: JobMatched, times: Timeline) -> dict[str, Value]:
    submitted_us, matched_us = micros(match.submit_end_utc_ns), micros(match.match_end_utc_ns)
    return {
        "SubmissionTime": _utc(submitted_us),
        "MatchTime": _utc(matched_us),
        "QueueWaitTime": _seconds(matched_us - submitted_us),
        "StartTime": _utc(times.start_utc_us),
        "EndTime": _utc(times.end_utc_us),
        "WallClockTime": _seconds(times.wall_us),
        **{f"StageWallClockTime.{stage}": _seconds(share) for stage, share in times.stage_us.items()},
        "PayloadWallClockTime": _seconds(times.payload_us),
        "ClockOffset": match.clock_offset_seconds,
        "ExecTime": _seconds(times.wall_us * match.processors),
    }


def _cpu(attempt: Attempt, used: Cpu) -> dict[str, Value]:
    match = attempt.matched
    return {
        "CPUTime": _seconds(used.total_us),
        "NormCPUTime": _seconds(round(used.total_us * match.cpu_normalization_factor)),
        "CPUUserTime": _seconds(used.user_us),
        "CPUSystemTime": _seconds(used.system_us),
        "CPUMethod": used.method,
        "CPUUncertainty": _seconds(used.uncertainty_us),
        "OrphanCPUTime": _seconds(used.orphan_us),
        "WrapperCPUTime": _wrapper_cpu(attempt),
        "Processors": match.processors,
        "ProcessorsRequested": match.processors_requested,
        "CPUNormalizationFactor": match.cpu_normalization_factor,
        "BenchmarkName": match.benchmark_name,
        "BenchmarkValue": match.benchmark_value,
        "BenchmarkSource": match.benchmark_source,
    }


def _wrapper_cpu(attempt: Attempt) -> float | None:
    """The wrapper's own account, else what its parent's wait4 saw of a dead one."""
    settled = attempt.facts(WrapperSettled)
    if settled:
        return settled[-1].wrapper_cpu_seconds
    reaped = attempt.first(WrapperReaped)
    return reaped.user_cpu_seconds + reaped.system_cpu_seconds if reaped else None


def _use(attempt: Attempt, cpu_used: Cpu) -> dict[str, Value]:
    used, written, waited = memory(attempt), output(attempt), waits(attempt)
    named = methods(attempt, cpu_used, used)
    return {
        "PeakRSS": used.peak_rss_bytes,
        "PeakPSS": used.peak_pss_bytes,
        "PeakCgroupMemory": used.peak_cgroup_bytes,
        "MemoryMethod": used.method,
        "PeakSwap": used.peak_swap_bytes,
        "SwapMethod": used.swap_method,
        "PeakMemorySwap": used.peak_memory_swap_bytes,
        "PeakThreads": used.peak_threads,
        "ThreadsMethod": used.threads_method,
        "MaxProcesses": used.max_processes,
        "ReadBytes": used.read_bytes,
        "WrittenBytes": used.written_bytes,
        "IOMethod": waited.io_method,
        "MinorFaults": waited.minor_faults,
        "MajorFaults": waited.major_faults,
        "VoluntarySwitches": waited.voluntary_switches,
        "InvoluntarySwitches": waited.involuntary_switches,
        "CPUPressure": waited.cpu_pressure_seconds,
        "MemoryPressure": waited.memory_pressure_seconds,
        "IOPressure": waited.io_pressure_seconds,
        "Methods": methods_text({**named, **_SAME_EVERYWHERE}) if named else None,
        "OutputLines": written.lines,
        "OutputBytes": written.bytes,
        "PeekLinesDropped": written.peek_lines_dropped,
        "OutputBytesDropped": written.bytes_dropped,
    }


def _outcome(attempt: Attempt) -> dict[str, Value]:
    ended = attempt.first(PayloadEnded)
    return {
        "ExitCode": ended.exit_code if ended else None,
        "Signal": ended.signal if ended else None,
        "ErrorType": attempt.ended.error_type or _first_cause(attempt),
        "PayloadStarted": _payload_started(attempt),
    }


def _first_cause(attempt: Attempt) -> str:
    """Why an attempt without a stated cause failed: the first thing that went wrong; empty for success."""
    if attempt.ended.status in _SUCCESS:
        return ""
    return next((cause for cause in (_cause(entry.fact) for entry in attempt.entries) if cause), "")


def _cause(fact: Fact) -> str:
    if isinstance(fact, LimitHit) and fact.action == "kill":
        return fact.limit
    if isinstance(fact, KillRequested):
        return fact.origin
    return fact.error_type if isinstance(fact, StageFinished) else ""


def _payload_started(attempt: Attempt) -> bool | None:
    if attempt.first(PayloadStarted):
        return True
    known = attempt.ended.recorded_by == "wrapper" or attempt.first(PayloadRefused) or not attempt.first(PayloadPlanned)
    return False if known else None


def _seconds(microseconds: int) -> float:
    return microseconds / 1_000_000


def _utc(microseconds: int) -> str:
    return utc_text(microseconds * 1000)
