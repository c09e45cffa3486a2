"""OTLP/JSON lines: what the specification says, and back to plain values."""

import base64
import json
from typing import Any

import pytest
from google.protobuf.json_format import Parse
from opentelemetry.proto.logs.v1.logs_pb2 import LogsData
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from telemetry.live.otlp import NotOtlp, accounting_of, log_bytes, log_line, span_bytes, span_line, spans_of
from telemetry.live.spans import render
from tests.support.attempts import play, uid_of

RECORD: dict[str, Any] = {
    "UID": uid_of(),
    "JobID": 2**53 + 1,
    "CPUTime": 0.1,
    "ExitCode": 0,
    "PayloadStarted": False,
    "FinalMinorStatus": 'quote " and ünicode',
    "EndTime": "2026-01-15T12:00:09.500000Z",
}
RENDERED = render(play(error_type="x", status="Failed").entries, RECORD)


def official(line: bytes, message: Any) -> Any:
    """*line* read by the official protobuf JSON parser, which wants ids in base64."""

    def to_base64(value: Any) -> Any:
        if isinstance(value, list):
            return [to_base64(each) for each in value]
        if isinstance(value, dict):
            return {
                name: base64.b64encode(bytes.fromhex(each)).decode()
                if name in ("traceId", "spanId", "parentSpanId")
                else to_base64(each)
                for name, each in value.items()
            }
        return value

    return Parse(json.dumps(to_base64(json.loads(line))), message)


def test_a_line_of_traces_is_a_traces_data() -> None:
    """The official parser reads a line back to the very bytes that go over the wire."""
    assert official(span_line(RENDERED.spans), TracesData()).SerializeToString(deterministic=True) == (
        TracesData.FromString(span_bytes(RENDERED.spans)).SerializeToString(deterministic=True)
    )


def test_a_line_of_logs_is_a_logs_data() -> None:
    """The same for log records."""
    assert official(log_line(RENDERED.logs), LogsData()).SerializeToString(deterministic=True) == (
        LogsData.FromString(log_bytes(RENDERED.logs)).SerializeToString(deterministic=True)
    )


def test_ids_are_hex_times_are_strings_enums_are_numbers() -> None:
    """OTLP/JSON differs from plain proto3 JSON in these."""
    line = span_line(RENDERED.spans)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    (span, *_) = json.loads(line)["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert int(span["traceId"], 16)
    assert len(span["traceId"]) == 32
    assert len(span["spanId"]) == 16
    assert isinstance(span["startTimeUnixNano"], str)
    assert span["kind"] == 1
    assert span["status"]["code"] == 2
    assert len(span["links"][0]["traceId"]) == 32


def test_spans_come_back_as_they_were() -> None:
    """Names, ids, times, attributes, events, links and status survive the file."""
    back = {span.span_id: span for span in spans_of(span_line(RENDERED.spans))}
    for span in RENDERED.spans:
        value = back[f"{span.context.span_id:016x}"]
        assert value.name == span.name
        assert value.trace_id == f"{span.context.trace_id:032x}"
        assert value.parent_span_id == (f"{span.parent.span_id:016x}" if span.parent else "")
        assert (value.start_ns, value.end_ns) == (span.start_time, span.end_time)
        assert value.attributes == dict(span.attributes or {})
        assert [event.name for event in value.events] == [event.name for event in span.events]
        assert [link.trace_id for link in value.links] == [f"{link.context.trace_id:032x}" for link in span.links]
        assert value.is_error == (span.status.status_code.name == "ERROR")
        assert value.resource == dict(span.resource.attributes)


def test_the_record_comes_back_exactly() -> None:
    """Integers beyond 2^53, floats, booleans and texts of the record survive, under the design's names."""
    (event,) = accounting_of(log_line(RENDERED.logs), 5)
    assert event.record == RECORD
    assert [type(value) for value in event.record.values()] == [type(RECORD[name]) for name in event.record]
    assert (event.uid, event.line) == (uid_of(), 5)
    assert event.timestamp_ns == 1_768_478_409_500_000_000


def test_other_uids_are_left_out_when_asked() -> None:
    """A reader that wants certain attempts gets only those."""
    line = log_line(RENDERED.logs)
    assert not list(accounting_of(line, 1, {"another"}))
    assert len(list(accounting_of(line, 1, {uid_of()}))) == 1


def test_other_log_records_are_no_accounting() -> None:
    """A log event of another name is skipped, not an error."""
    document = json.loads(log_line(RENDERED.logs))
    document["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]["eventName"] = "something.else"
    assert not list(accounting_of(json.dumps(document).encode(), 1))


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b'{"resourceSpans": 3}',
        b'{"resourceSpans": [3]}',
        b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"name": "x"}]}]}]}',
        b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"name":"x","traceId":"1","spanId":"2",'
        b'"startTimeUnixNano":"soon","endTimeUnixNano":"1"}]}]}]}',
    ],
)
def test_what_is_not_otlp_is_told(line: bytes) -> None:
    """Whatever stands in a line, the reader says NotOtlp and nothing else."""
    with pytest.raises(NotOtlp):
        list(spans_of(line))
    with pytest.raises(NotOtlp):
        list(accounting_of(line.replace(b"Spans", b"Logs").replace(b'"spans"', b'"logRecords"') + b",", 1))
