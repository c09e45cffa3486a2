"""Trace, counters and record of an attempt tell the same times."""

from datetime import datetime

import pytest

from telemetry.clock import parse_utc
from telemetry.facts import ACCOUNTED_STAGES
from telemetry.ledger.builder import build
from telemetry.live.spans import render
from tests.support.attempts import Attempt, play


@pytest.mark.parametrize("stepped", [False, True])
def test_the_record_s_times_are_those_of_the_spans(stepped: bool) -> None:
    """Start, end and each stage's share stand in record and trace alike, whatever the wall clock does meanwhile."""

    def during(attempt: Attempt) -> None:
        if stepped:
            attempt.clock.step_utc(-1800.0)

    entries = play(during=during).entries
    record = build(entries)
    assert record is not None
    spans = {span.name: span for span in render(entries, record).spans}
    first, last = spans["jobspan.stage.initialize"], spans["jobspan.stage.process_job_outputs"]
    assert datetime.fromisoformat(str(record["StartTime"])).tzinfo is not None
    assert parse_utc(str(record["StartTime"])) == first.start_time == spans["jobspan.job"].start_time
    assert parse_utc(str(record["EndTime"])) == last.end_time
    for stage in ACCOUNTED_STAGES:
        span = spans[f"jobspan.stage.{stage}"]
        assert record[f"StageWallClockTime.{stage}"] == pytest.approx((span.end_time - span.start_time) / 1e9, abs=1e-6)
    assert str(record["TraceID"]) == f"{spans['jobspan.job'].context.trace_id:032x}"
