"""The share of one attempt in the counters."""

import random

from telemetry.clock import NANOSECONDS
from telemetry.facts import AttemptEnded, KillFinished, KillRequested, LimitHit, SignalSent, StageFinished
from telemetry.live.tally import AttemptFold, Tally, corrected
from tests.support.attempts import Attempt, play, uid_of


def fold(attempt: Attempt) -> AttemptFold:
    """All facts of *attempt*, folded."""
    folded = AttemptFold()
    for entry in attempt.entries:
        folded.add(entry)
    return folded


def test_share_of_a_whole_attempt() -> None:
    """CPU, wall clock by stage, core seconds, lines, bytes and the end stand in the share, in their units."""
    values = fold(play()).tally().values
    assert values["jobspan_payload_cpu_seconds_total", ("user",)] == 3.0
    assert values["jobspan_payload_cpu_seconds_total", ("system",)] == 0.5
    assert values["jobspan_wall_seconds_total", ("initialize",)] == 1.8
    assert values["jobspan_wall_seconds_total", ("execute",)] == 3.0
    assert values["jobspan_wall_seconds_total", ("finalize",)] == 0.5
    assert values["jobspan_wall_core_seconds_total", ()] == 2 * (1.8 + 1.0 + 1.0 + 3.0 + 1.0)
    assert values["jobspan_peek_lines_total", ("stdout",)] == 40
    assert values["jobspan_peek_lines_dropped_total", ("stdout",)] == 20
    assert values["jobspan_output_bytes_total", ("stderr",)] == 30
    assert values["jobspan_jobs_finished_total", ("Done", "")] == 1


def test_the_order_of_facts_does_not_matter() -> None:
    """Portions of several writers may come in any order; the share is the same."""
    attempt = play()
    whole = fold(attempt).tally()
    for seed in range(5):
        random.Random(seed).shuffle(attempt.entries)
        assert fold(attempt).tally() == whole


def test_totals_of_an_attempt_never_fall() -> None:
    """However the fold is looked at in between, no counter is ever lower than before."""
    folded = AttemptFold()
    before: Tally | None = None
    for entry in sorted(play().entries, key=lambda each: each.boottime_ns):
        folded.add(entry)
        now = folded.tally()
        if before:
            assert all(now.counters[key] >= value for key, value in before.counters.items())
        before = now


def test_an_open_stage_counts_up_to_the_last_sign_of_life() -> None:
    """What the agent writes hours after a death does not lengthen the stage in which it happened."""
    attempt = Attempt()
    attempt.begin()
    attempt.clock.advance(4.0)
    attempt.write(KillRequested(origin="user", reason="x"))
    attempt.clock.advance(3600.0)
    attempt.write(attempt.match, "agent")
    assert fold(attempt).tally().values["jobspan_wall_seconds_total", ("initialize",)] == 4.3


def test_no_duration_across_boots() -> None:
    """A stage that recovery closes after a reboot counts up to the last sign of life."""
    attempt = Attempt()
    attempt.begin()
    attempt.clock.advance(1.0)
    attempt.write(KillRequested(origin="user", reason="x"))
    attempt.clock.reboot()
    attempt.write(StageFinished(stage="initialize", at_boottime_ns=NANOSECONDS, result="error"), "recovery")
    tally = fold(attempt).tally()
    assert tally.values["jobspan_wall_seconds_total", ("initialize",)] == 1.3
    assert [(seen.result, seen.duration_ns) for seen in tally.stages] == [("error", round(1.3 * NANOSECONDS))]


def test_the_record_corrects_the_share() -> None:
    """CPU, wall clock and status are the record's; what it does not say stays."""
    record = {
        "CPUUserTime": 2.75,
        "CPUSystemTime": 0.25,
        "ExecTime": 14.0,
        "StageWallClockTime.execute": 2.5,
        "FinalMajorStatus": "Failed",
        "ErrorType": "cpu_limit",
    }
    values = corrected(fold(play()).tally(), record).values
    assert values["jobspan_payload_cpu_seconds_total", ("user",)] == 2.75
    assert values["jobspan_wall_seconds_total", ("execute",)] == 2.5
    assert values["jobspan_wall_seconds_total", ("initialize",)] == 1.8
    assert values["jobspan_wall_core_seconds_total", ()] == 14.0
    assert values["jobspan_jobs_finished_total", ("Failed", "cpu_limit")] == 1
    assert ("jobspan_jobs_finished_total", ("Done", "")) not in values


def test_gauges_live_between_start_and_end() -> None:
    """A job has gauges from its wrapper's start to the attempt's end, and neither before nor after."""
    attempt = Attempt()
    attempt.write(attempt.match, "agent")
    assert fold(attempt).living() is None
    attempt = Attempt()
    attempt.begin()
    attempt.sample(user=1.5, rss_bytes=4096)
    living = fold(attempt).living()
    assert living
    assert (living.job_id, living.cpu_ns, living.rss_bytes) == (7, 2 * NANOSECONDS, 4096)
    attempt.write(AttemptEnded(status="Done", minor_status="x"))
    assert fold(attempt).living() is None
    assert fold(attempt).tally().uid == uid_of()


def test_a_kill_is_counted_by_origin_limit_and_signal() -> None:
    """Who wanted it, for which limit, how many processes got which signal, how long it took, who survived."""

    def kill(attempt: Attempt) -> None:
        for action, limit in (("warn", "memory"), ("kill", "cpu")):
            attempt.write(LimitHit(limit=limit, minor_status="m", measured=2, allowed=1, unit="s", action=action))  # type: ignore[arg-type]
        attempt.write(KillRequested(origin="watchdog", reason="m"))
        attempt.write(SignalSent(signal=15, pids=(1, 2), reason="m", processes=2000), "starter")
        attempt.write(SignalSent(signal=9, pids=(1,), reason="m"), "starter")
        attempt.write(KillFinished(duration_seconds=0.4, survivors=(7,)), "starter")

    values = fold(play(during=kill)).tally().values
    assert values["jobspan_limits_hit_total", ("memory", "warn")] == 1
    assert values["jobspan_limits_hit_total", ("cpu", "kill")] == 1
    assert values["jobspan_kills_total", ("watchdog", "cpu")] == 1
    assert values["jobspan_signals_total", ("SIGTERM", "end")] == 2000
    assert values["jobspan_signals_total", ("SIGKILL", "end")] == 1
    assert values["jobspan_kill_survivors_total", ()] == 1
    assert values["jobspan_kill_duration_seconds", ("1.0",)] == 1
    assert values["jobspan_kill_duration_seconds", ("sum",)] == 0.4


def test_only_the_watchdog_kills_for_a_limit() -> None:
    """A user's kill of a job that was warned of a limit, or that hits one later, is the user's."""

    def kill(attempt: Attempt) -> None:
        attempt.write(KillRequested(origin="user", reason="m"))
        attempt.write(LimitHit(limit="cpu", minor_status="m", measured=2, allowed=1, unit="s"))

    values = fold(play(during=kill)).tally().values
    assert values["jobspan_kills_total", ("user", "")] == 1
