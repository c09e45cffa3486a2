"""Facts to record: what each number is, and what a cut-off journal still tells."""

import itertools
from dataclasses import replace

import pytest

from telemetry.clock import NANOSECONDS
from telemetry.entries import UnknownFact
from telemetry.facts import (
    STAGES,
    AttemptEnded,
    EndKept,
    KillRequested,
    LimitHit,
    OutputSeen,
    PayloadPlanned,
    PayloadRefused,
    StageFinished,
    StageStarted,
    UsageSampled,
    UsageSettled,
    WrapperStarted,
)
from telemetry.identity import trace_id
from telemetry.ledger.builder import build
from telemetry.ledger.record import Record
from telemetry.ledger.sanity import inconsistencies
from telemetry.ledger.schema import STAGE_FIELDS
from telemetry.ledger.selection import Unidentified
from tests.support.clock import NOON_UTC_NS
from tests.support.ledger import Life, matched, whole_life


def _shares(record: Record) -> list[float]:
    return [record.number(name) for name in STAGE_FIELDS]


def test_there_is_no_record_before_the_attempt_has_ended() -> None:
    """A journal without an end is no record, however much it tells."""
    life = Life()
    life.match()
    life.start_wrapper()
    assert build(life.entries) is None
    assert build([]) is None


def test_an_end_without_an_identity_is_an_error() -> None:
    """A record that belongs to nobody is refused, not invented."""
    life = Life()
    life.recover()
    with pytest.raises(Unidentified, match="JobMatched"):
        build(life.entries)


def test_a_whole_life_gives_the_record_that_a_person_would_write() -> None:
    """Every group of fields, by hand, for one successful job."""
    record = whole_life(matched(processors=2, processors_requested=4, cpu_normalization_factor=2.5)).record()
    expected = {
        "JobID": 1, "Attempt": 1, "Revision": 1, "RecordedBy": "wrapper", "User": "ada", "VO": "gridpp",
        "FinalMajorStatus": "Done", "FinalMinorStatus": "Execution Complete", "ErrorType": "",
        "SubmissionTime": "2026-01-15T11:59:31.000000Z", "MatchTime": "2026-01-15T11:59:59.000000Z",
        "QueueWaitTime": 28.0, "StartTime": "2026-01-15T12:00:00.000000Z", "EndTime": "2026-01-15T12:00:03.051000Z",
        "WallClockTime": 3.051, "ExecTime": 6.102, "PayloadWallClockTime": 2.0,
        "CPUUserTime": 1.5, "CPUSystemTime": 0.25, "CPUTime": 1.75, "NormCPUTime": 4.375, "CPUMethod": "cgroup2",
        "CPUUncertainty": 0.001, "WrapperCPUTime": 0.25, "Processors": 2, "ProcessorsRequested": 4,
        "InputSandBoxSize": 1000, "OutputSandBoxSize": 300, "InputDataSize": 550, "InputDataFiles": 3,
        "OutputDataSize": 0, "OutputDataFiles": 0, "DiskSpace": 4096, "ProcessedEvents": 0,
        "PeakRSS": 1 << 22, "PeakPSS": None, "MemoryMethod": "cgroup2", "MaxProcesses": 3, "ReadBytes": 100,
        "WrittenBytes": 200, "OutputLines": 11, "OutputBytes": 107, "PeekLinesDropped": 2,
        "ExitCode": 0, "Signal": None, "PayloadStarted": True,
    }  # fmt: skip
    assert {name: record[name] for name in expected} == expected
    assert record["TraceID"] == trace_id(record.text("UID"))
    assert inconsistencies(record) == ()


def test_the_wall_clock_starts_with_the_process_and_excludes_finalize() -> None:
    """Imports belong to initialize, the sandbox download is in, finalize is out."""
    record = whole_life().record()
    assert _shares(record) == [0.15, 0.3, 0.2, 2.001, 0.4]
    assert sum(record.micros(name) for name in STAGE_FIELDS) == record.micros("WallClockTime")


def test_shares_sum_exactly_when_boundaries_fall_between_microseconds() -> None:
    """Rounded boundaries, not rounded shares: nothing is lost between stages."""
    life = Life()
    life.match()
    life.start_wrapper(0.0000004)
    for stage in STAGES[:-1]:
        life.next_stage(stage, 0.0000016)
    life.end()
    record = life.record()
    assert record["WallClockTime"] == 0.000008
    assert sum(record.micros(name) for name in STAGE_FIELDS) == 8


def test_a_step_of_the_wall_clock_changes_no_duration_and_no_distance() -> None:
    """UTC follows from one anchor: an hour's step during the payload is not in the record."""
    life = Life()
    life.match()
    life.start_wrapper()
    life.next_stage("initialize", 1.0)
    life.clock.step_utc(3600)
    for stage in STAGES[1:-1]:
        life.next_stage(stage, 1.0)
    life.end()
    record = life.record()
    assert record["WallClockTime"] == 5.05
    assert record["EndTime"] == "2026-01-15T12:00:05.050000Z"
    assert record["RecordTime"] == "2026-01-15T12:00:05.050000Z"


def test_what_is_written_after_the_end_changes_nothing() -> None:
    """The record is the same when it is built again later."""
    life = whole_life()
    before = life.record()
    life.clock.advance(5)
    life.emit(OutputSeen(stream="stdout", lines=10**6, bytes=10**6))
    life.reaped()
    assert life.record() == before


def test_facts_of_a_newer_version_are_passed_over() -> None:
    """A kind that is not known does not disturb the fold."""
    life = whole_life()
    before = life.record()
    life.journals["wrapper"].entries.insert(3, life.emit(UnknownFact(kind="Novelty", data={}), "novel"))
    assert build(life.entries) == before


def test_a_dead_wrapper_is_accounted_by_its_last_sign_of_life() -> None:
    """The stage in which it died reaches to the last fact, later stages have no share, samples are a lower bound."""
    life = Life()
    life.match(matched(processors=2))
    life.start_wrapper(0.0)
    for stage in STAGES[:3]:
        life.next_stage(stage, 1.0)
    life.payload_starts()
    life.sample(0.5, 0.1)
    life.clock.advance(0.5)
    life.reaped()
    again = StageFinished(stage="initialize", at_boottime_ns=life.clock.boottime_ns(), result="error")
    life.emit(again, "recovery")  # what the wrapper said of itself holds
    life.recover()
    record = life.record()
    assert record["RecordedBy"] == "agent"
    assert _shares(record) == [1.0, 1.0, 1.0, 1.5, 0.0]
    assert record["WallClockTime"] == 4.5
    assert (record["CPUTime"], record["CPUMethod"], record["CPUUncertainty"]) == (0.6, "sampled", 1.0)
    assert record["WrapperCPUTime"] == 0.3
    assert record["ErrorType"] == "wrapper_died"
    assert record["RecordTime"] == "2026-01-15T12:00:06.500000Z"
    assert inconsistencies(record) == ()


def test_what_the_starter_saw_after_the_wrappers_death_counts() -> None:
    """The starter's account of the payload is taken in place of the samples."""
    life = Life()
    life.match()
    life.start_wrapper()
    for stage in STAGES[:3]:
        life.next_stage(stage)
    life.payload_starts()
    life.sample(0.5, 0.1)
    life.clock.advance(2.0)
    settled = UsageSettled(
        cpu_user_seconds=2.0,
        cpu_system_seconds=0.5,
        cpu_method="wait4",
        cpu_uncertainty_seconds=0.0,
        orphan_cpu_seconds=0.2,
        peak_rss_bytes=5,
    )
    life.emit(settled, "starter")
    life.recover()
    record = life.record()
    assert (record["CPUTime"], record["CPUMethod"], record["OrphanCPUTime"]) == (2.5, "wait4", 0.2)
    assert record["StageWallClockTime.execute"] == 3.0


def test_durations_never_cross_a_boot() -> None:
    """The node went down and came up: the wall clock ends in the boot in which the wrapper lived."""
    life = Life()
    life.match()
    life.start_wrapper(0.0)
    life.next_stage("initialize", 1.0)
    life.clock.reboot(down_seconds=600.0)
    life.clock.advance(5000.0)
    life.emit(
        StageFinished(stage="transfer_input_sandbox", at_boottime_ns=life.clock.boottime_ns(), result="error"),
        "recovery",
    )
    life.recover()
    record = life.record()
    assert record["WallClockTime"] == 1.0
    assert record["RecordTime"] == "2026-01-15T13:33:23.000000Z"
    assert inconsistencies(record) == ()


def test_a_boot_whose_clock_went_back_loses_nothing() -> None:
    """After a reboot with a wrong wall clock the recovery still counts all facts of the first boot."""
    life = Life()
    life.match()
    life.start_wrapper(0.0)
    life.next_stage("initialize", 1.0)
    life.clock.reboot(down_seconds=-86400.0)
    life.recover()
    assert life.record()["WallClockTime"] == 1.0


def test_a_wrapper_that_never_started_has_no_wall_clock() -> None:
    """Accepted by the computing element, then nothing: a record all the same, with zero use."""
    life = Life()
    life.match()
    life.recover()
    record = life.record()
    assert record["WallClockTime"] == 0
    assert record["CPUMethod"] is None
    assert record["PayloadStarted"] is False
    assert record["StartTime"] == record["EndTime"] == record["RecordTime"]
    assert inconsistencies(record) == ()


def test_the_wrappers_own_end_supersedes_recovery() -> None:
    """A wrapper that comes back speaks for itself; what recovery assumed meanwhile is left out."""

    def life(*, is_taken_for_dead: bool) -> Life:
        life = Life()
        life.match()
        life.start_wrapper()
        life.clock.advance(1.0)
        if is_taken_for_dead:
            at = life.clock.boottime_ns()
            life.emit(StageFinished(stage="initialize", at_boottime_ns=at, result="error"), "recovery")
            life.recover(0.0)
        for stage in STAGES[:-1]:
            life.next_stage(stage, 1.0)
        life.end()
        return life

    assert life(is_taken_for_dead=True).record() == life(is_taken_for_dead=False).record()


@pytest.mark.parametrize("by", ["wrapper", "agent"])
def test_the_words_of_the_wms_make_a_further_revision_and_change_nothing_else(by: str) -> None:
    """What the WMS keeps, learned late, stands in revision 2; every number is that of revision 1."""
    if by == "wrapper":
        life = whole_life()
    else:
        life = Life()
        life.match()
        life.start_wrapper()
        life.recover()
    first = life.record()
    life.clock.advance(7200)
    life.emit(EndKept(status="Failed", minor_status="Job stalled: pilot not running", error_type="kept"), "recovery")
    second = life.record()
    changed = {name for name in first if first[name] != second[name]}
    assert changed == {"Revision", "FinalMajorStatus", "FinalMinorStatus", "ErrorType"} - (
        {"FinalMajorStatus"} if by == "agent" else set()
    )
    assert (second["RecordedBy"], second["Revision"]) == (by, 2)
    assert second["FinalMinorStatus"] == "Job stalled: pilot not running"


def test_bytes_cut_out_of_the_output_are_in_the_record() -> None:
    """The last count of each stream, added up; where nothing was cut out the field is absent."""
    life = Life()
    life.match()
    life.start_wrapper()
    life.emit(OutputSeen(stream="stdout", lines=3, bytes=5000, dropped_bytes=700))
    life.emit(OutputSeen(stream="stdout", lines=6, bytes=9000, dropped_bytes=4000))
    life.emit(OutputSeen(stream="stderr", lines=1, bytes=2000, dropped_bytes=34))
    life.recover()
    record = life.record()
    assert (record["OutputBytes"], record["OutputBytesDropped"]) == (11000, 4034)
    assert whole_life().record()["OutputBytesDropped"] is None


def test_peaks_are_recorded_with_their_methods() -> None:
    """Of swap, of memory and swap together, and of threads: as settled, and absent where nobody has told them."""
    life = whole_life()
    fields = ("PeakSwap", "SwapMethod", "PeakMemorySwap", "PeakThreads", "ThreadsMethod")
    assert [life.record()[name] for name in fields] == [None] * 5
    life = Life()
    life.match()
    life.start_wrapper()
    life.emit(
        UsageSettled(
            cpu_user_seconds=1.0, cpu_system_seconds=1.0, cpu_method="cgroup1", cpu_uncertainty_seconds=0.0,
            orphan_cpu_seconds=0.0, peak_rss_bytes=1, peak_swap_bytes=4096, swap_method="sampled",
            peak_memory_swap_bytes=8192, peak_threads=7, threads_method="cgroup1",
        )
    )  # fmt: skip
    life.recover()
    assert [life.record()[name] for name in fields] == [4096, "sampled", 8192, 7, "cgroup1"]


def test_waits_and_faults_are_recorded() -> None:
    """How bytes were counted, page faults, context switches and pressure: as settled, each in its own field."""
    life = Life()
    life.match()
    life.start_wrapper()
    life.emit(
        UsageSettled(
            cpu_user_seconds=1.0, cpu_system_seconds=1.0, cpu_method="cgroup2", cpu_uncertainty_seconds=0.0,
            orphan_cpu_seconds=0.0, peak_rss_bytes=1, io_method="members", minor_faults=11, major_faults=12,
            voluntary_switches=13, involuntary_switches=14, cpu_pressure_seconds=0.5, memory_pressure_seconds=0.25,
            io_pressure_seconds=0.125,
        )
    )  # fmt: skip
    life.recover()
    expected = {
        "IOMethod": "members", "MinorFaults": 11, "MajorFaults": 12, "VoluntarySwitches": 13,
        "InvoluntarySwitches": 14, "CPUPressure": 0.5, "MemoryPressure": 0.25, "IOPressure": 0.125,
    }  # fmt: skip
    record = life.record()
    assert {name: record[name] for name in expected} == expected


def test_peaks_of_samples_stand_in_for_an_account_that_nobody_settled() -> None:
    """The most that any look had seen by then, not the last; the control group's own with its method."""
    life = Life()
    life.match()
    life.start_wrapper()
    seen = UsageSampled(
        stage="execute", cpu_user_seconds=1.0, cpu_system_seconds=0.0, cpu_method="cgroup1", wall_seconds=1.0,
        rss_bytes=5, processes=1, threads=1, peak_rss_bytes=50, max_processes=4, peak_threads=6, peak_swap_bytes=7,
    )  # fmt: skip
    life.emit(seen)
    life.recover()
    record = life.record()
    assert (record["PeakRSS"], record["MemoryMethod"], record["MaxProcesses"]) == (50, "sampled", 4)
    assert (record["PeakCgroupMemory"], record["PeakMemorySwap"]) == (None, None)
    assert (record["PeakSwap"], record["SwapMethod"]) == (7, "sampled")
    assert (record["PeakThreads"], record["ThreadsMethod"]) == (6, "sampled")
    life.emit(
        replace(
            seen, peaks_method="cgroup1", peak_cgroup_memory_bytes=90, peak_memory_swap_bytes=95, peak_cgroup_threads=8
        )
    )
    life.recover()
    record = life.record()
    assert (record["PeakCgroupMemory"], record["MemoryMethod"], record["PeakMemorySwap"]) == (90, "cgroup1", 95)
    assert (record["PeakSwap"], record["SwapMethod"]) == (7, "sampled")
    assert (record["PeakThreads"], record["ThreadsMethod"]) == (8, "cgroup1")


def test_the_record_names_the_method_of_each_quantity() -> None:
    """As settled, in one text; of an account that nobody settled as the samples tell, which say it once in a series;
    and not at all in journals of before it was told."""
    same = "wall=boottime wrapper_cpu=cputime output=tail disk=walk"
    sample = UsageSampled(
        stage="execute", cpu_user_seconds=1.0, cpu_system_seconds=0.0, cpu_method="cgroup1", wall_seconds=1.0,
        rss_bytes=5, peaks_method="cgroup1", peak_cgroup_memory_bytes=90, peak_threads=2,
    )  # fmt: skip
    life = Life()
    life.match()
    life.start_wrapper()
    life.emit(sample)
    life.recover()
    assert life.record()["Methods"] is None
    life.emit(replace(sample, methods={"cpu": "cgroup1", "memory": "cgroup1", "io": "members"}))
    life.emit(sample)
    life.recover()
    assert life.record()["Methods"] == (
        f"cpu=sampled peak_rss=sampled peak_memory=cgroup1 peak_threads=sampled processes=sampled io=members {same}"
    )
    life.emit(
        UsageSettled(
            cpu_user_seconds=1.0, cpu_system_seconds=1.0, cpu_method="cgroup1", cpu_uncertainty_seconds=0.0,
            orphan_cpu_seconds=0.0, peak_rss_bytes=1, methods={"cpu": "cgroup1", "io": "members"},
        )
    )  # fmt: skip
    life.recover()
    assert life.record()["Methods"] == f"cpu=cgroup1 io=members {same}"
    assert whole_life().record()["Methods"] is None


def test_a_second_end_by_the_same_witness_is_a_further_revision() -> None:
    """Recovery that learns more closes again: revision 2, with all facts until then."""
    life = Life()
    life.match()
    life.start_wrapper()
    life.recover()
    assert life.record()["Revision"] == 1
    life.emit(OutputSeen(stream="stdout", lines=3, bytes=9), "starter")
    life.recover()
    record = life.record()
    assert record["Revision"] == 2
    assert record["OutputLines"] == 3


@pytest.mark.parametrize(
    ("facts", "by", "started"),
    [
        ([], "wrapper", False),
        ([PayloadPlanned(starter_pid=1)], "agent", None),
        ([PayloadPlanned(starter_pid=1)], "wrapper", False),
        ([PayloadPlanned(starter_pid=1), PayloadRefused(errno=2, cause="not found")], "agent", False),
    ],
)
def test_whether_the_payload_started_is_known_or_said_to_be_unknown(facts: list, by: str, started: bool | None) -> None:
    """Only a wrapper that died between plan and answer leaves the question open."""
    life = Life()
    life.match()
    life.start_wrapper()
    for fact in facts:
        life.emit(fact)
    life.emit(AttemptEnded(status="Failed", minor_status="x", error_type="y", recorded_by=by), "recovery")
    assert life.record()["PayloadStarted"] is started


@pytest.mark.parametrize(
    ("facts", "cause"),
    [
        ([LimitHit(limit="cpu", minor_status="m", measured=2, allowed=1, unit="s")], "cpu"),
        ([KillRequested(origin="user", reason="r")], "user"),
        ([StageFinished(stage="execute", at_boottime_ns=0, result="error", error_type="late")], "late"),
        ([], ""),
    ],
)
def test_the_first_cause_is_the_error_type_when_the_end_names_none(facts: list, cause: str) -> None:
    """What went wrong first is what the record blames."""
    life = Life()
    life.match()
    life.start_wrapper()
    for fact in [*facts, StageFinished(stage="execute", at_boottime_ns=0, result="error", error_type="")]:
        life.emit(fact)
    life.end("Failed", "m")
    assert life.record()["ErrorType"] == cause
    assert whole_life().record()["ErrorType"] == ""


def test_every_cut_of_a_life_gives_a_sound_record_after_recovery() -> None:
    """The wrapper may die after any of its facts: the record exists, adds up and blames the death."""
    whole = whole_life()
    wrapper = whole.journals["wrapper"].entries
    last = next(index for index, entry in enumerate(wrapper) if isinstance(entry.fact, AttemptEnded))
    for cut in range(last):
        life = Life(clock=whole.clock)
        life.match()
        life.recover()
        record = build([*life.entries, *wrapper[:cut]])
        assert record is not None
        assert record["RecordedBy"] == "agent"
        assert inconsistencies(record) == (), cut
        assert record.micros("WallClockTime") <= whole.record().micros("WallClockTime")


def test_wait4_of_the_top_process_is_used_when_the_wrapper_died_before_settling() -> None:
    """Of sample and wait4 the higher is taken, and the rest stays as uncertainty."""
    life = Life()
    life.match()
    life.start_wrapper()
    life.payload_starts()
    life.sample(0.5, 0.0)
    life.payload_ends(1.2, 0.1)
    life.journals["wrapper"].entries = [
        entry for entry in life.journals["wrapper"].entries if not isinstance(entry.fact, UsageSettled)
    ]
    life.recover()
    record = life.record()
    assert (record["CPUTime"], record["CPUMethod"]) == (1.3, "wait4")
    assert record["CPUUncertainty"] == pytest.approx(0.2)


def test_a_payload_that_nobody_looked_at_is_all_uncertainty() -> None:
    """Zero measured CPU is not zero use: the record says how much it may have been."""
    life = Life()
    life.match(matched(processors=3))
    life.start_wrapper()
    life.payload_starts()
    life.clock.advance(2.0)
    life.emit(OutputSeen(stream="stdout", lines=0, bytes=0))
    life.recover()
    record = life.record()
    assert (record["CPUTime"], record["CPUMethod"], record["CPUUncertainty"]) == (0, "sampled", 6.0)


def test_order_of_reading_decides_nothing_between_equal_boottimes() -> None:
    """Facts of one instant give one record in every order."""
    life = Life()
    life.match()
    at = life.clock.boottime_ns()
    life.emit(WrapperStarted(pid=1, start_boottime_ns=at - NANOSECONDS, started_by="interpreter", version="1"))
    life.emit(StageStarted(stage="execute", at_boottime_ns=at))
    life.emit(OutputSeen(stream="stdout", lines=1, bytes=1), "starter")
    life.recover(0.0)
    bodies = {build(order).canonical() for order in itertools.permutations(life.entries)}  # type: ignore[union-attr]
    assert len(bodies) == 1
    assert life.record().utc_ns("StartTime") == NOON_UTC_NS - NANOSECONDS


def test_looks_without_a_payload_are_no_method() -> None:
    """The watchdog looks in every stage; where no payload ever was, the record names no CPU or memory method."""
    life = Life()
    life.match()
    life.start_wrapper()
    life.emit(
        UsageSampled(
            stage="initialize",
            cpu_user_seconds=0.0,
            cpu_system_seconds=0.0,
            cpu_method="",
            wall_seconds=0.1,
            rss_bytes=0,
        )
    )
    life.end("Failed", "Failed Downloading InputSandbox", "hostile_archive")
    record = life.record()

    assert record["CPUMethod"] is None
    assert record["MemoryMethod"] is None
