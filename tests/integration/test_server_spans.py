"""The WMS's own spans: one a call, in its caller's trace, in files and at a collector, and never in a call's way."""

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from telemetry import catalogue as names
from telemetry import identity
from telemetry.live.call_shipper import Allowance, CallShipper, SpanFile
from telemetry.live.call_spans import CallSpan, WmsIdentity
from telemetry.live.otlp import SpanValue
from telemetry.live.otlp_files import read_spans
from telemetry.live.otlp_http import OtlpHttp
from tests.support.collector import Reply, collector
from tests.support.http_faults import black_hole
from tests.support.waiting import eventually
from tests.support.wms import RunningWms, running_wms

TRACE, PARENT = "a" * 32, "b" * 16
INFO = "GET /api/jobspan/info"


@pytest.fixture
def wms(tmp_path: Path) -> Iterator[RunningWms]:
    """A WMS with its spans."""
    with running_wms(tmp_path, observed=True) as running:
        yield running


def spans_of(wms: RunningWms, name: str, count: int = 1) -> list[SpanValue]:
    """The spans *name* in the file of the WMS, once there are so many."""

    def found() -> list[SpanValue]:
        read = read_spans(wms.folder / "telemetry" / "wms-traces.jsonl")
        assert read.damaged == 0
        spans = [span for span in read.spans if span.name == name]
        return spans if len(spans) >= count else []

    return eventually(found, 60, f"{count} spans {name}")


def traced(flags: str = "01") -> dict[str, str]:
    return {"traceparent": f"00-{TRACE}-{PARENT}-{flags}"}


def test_a_call_is_a_span_of_its_callers_trace(wms: RunningWms) -> None:
    """The span has the caller's trace and parent, the route, the code, the id of the call, and who served it."""
    answer = wms.call("GET", "/api/jobspan/jobs/77/peek", headers={**traced(), "X-Request-ID": "my-call.1"})
    assert answer.headers["X-Request-ID"] == "my-call.1"
    (span,) = spans_of(wms, "GET /api/jobspan/jobs/{job_id}/peek")
    assert (span.trace_id, span.parent_span_id) == (TRACE, PARENT)
    assert span.kind == 2  # server
    assert span.start_ns < span.end_ns
    assert not span.is_error
    assert span.attributes == {
        names.HTTP_METHOD: "GET",
        names.HTTP_ROUTE: "/api/jobspan/jobs/{job_id}/peek",
        names.HTTP_CODE: answer.status_code,
        names.CALL_ID: "my-call.1",
    }
    assert span.resource[names.SERVICE] == names.WMS_SERVICE_NAME
    assert span.resource[names.SERVICE_INSTANCE] == wms.context.wms_id


@pytest.mark.parametrize("text", ["", "garbage", f"00-{'0' * 32}-{PARENT}-01", f"ff-{TRACE}-{PARENT}-01"])
def test_a_call_without_a_trace_begins_one(wms: RunningWms, text: str) -> None:
    """No traceparent, or one that is none: a new trace, without a parent."""
    wms.call("GET", "/api/jobspan/info", headers={"traceparent": text})
    (span,) = spans_of(wms, INFO)
    assert span.trace_id not in (TRACE, "0" * 32)
    assert span.parent_span_id == ""


@pytest.mark.parametrize("given", ["", "two words", "x" * 65, "-x"])
def test_a_call_has_an_id_of_ours_unless_it_brings_a_good_one(wms: RunningWms, given: str) -> None:
    """What is no id (it would stand in log lines) is replaced."""
    answer = wms.call("GET", "/api/jobspan/info", headers={"X-Request-ID": given})
    assert re.fullmatch("[0-9a-f]{16}", answer.headers["X-Request-ID"])


def test_what_the_caller_does_not_sample_and_probes_are_no_spans(wms: RunningWms) -> None:
    """An unsampled traceparent is honoured, and a load balancer's probes are not recorded."""
    wms.call("GET", "/api/jobspan/info", headers=traced("00"))
    wms.call("GET", "/healthz")
    wms.call("GET", "/readyz")
    wms.submit()
    spans_of(wms, "POST /api/jobs/jdl")
    read = read_spans(wms.folder / "telemetry" / "wms-traces.jsonl")
    assert [span.name for span in read.spans] == ["POST /api/jobs/jdl"]


def test_one_trace_leads_from_the_match_to_the_payload(wms: RunningWms) -> None:
    """The call that gave out an attempt stands below the attempt's span `match`; that of the submission links to it."""
    wms.call("POST", "/api/jobs/jdl", ['Executable = "/bin/true";'], headers=traced())
    wms.settle()
    job = wms.match()
    assert job is not None
    wms.match()
    submit, (match, idle) = spans_of(wms, "POST /api/jobs/jdl")[0], spans_of(wms, "POST /api/jobspan/match", 2)
    assert submit.trace_id == TRACE
    submission = identity.submission_uid(job["WMSID"], job["JobID"])
    (link,) = submit.links
    assert (link.trace_id, link.span_id) == (
        identity.trace_id(submission),
        identity.span_id(submission, names.SUBMIT_PATH),
    )
    assert (match.trace_id, match.parent_span_id) == (
        identity.trace_id(job["UID"]),
        identity.span_id(job["UID"], names.MATCH_PATH),
    )
    assert idle.parent_span_id == ""
    assert idle.trace_id != match.trace_id


def test_a_match_within_a_trace_links_to_its_attempt(wms: RunningWms) -> None:
    """An agent that brings a trace of its own keeps it; the attempt is linked."""
    wms.submit()
    body = {"PilotStamp": "s", "Site": "LCG.Test.org"}
    job = wms.call("POST", "/api/jobspan/match", body, token=wms.pilot_token, headers=traced()).json()["Job"]
    (span,) = spans_of(wms, "POST /api/jobspan/match")
    assert (span.trace_id, span.parent_span_id) == (TRACE, PARENT)
    assert [link.trace_id for link in span.links] == [identity.trace_id(job["UID"])]


def test_an_error_of_the_server_is_an_error_of_its_span(wms: RunningWms, monkeypatch: pytest.MonkeyPatch) -> None:
    """A 5xx sets error.type; a refusal does not: it is the caller's."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("runner.server.services.job_monitoring.JobMonitoring.peek", broken)
    wms.call("GET", "/api/jobspan/jobs/1/peek")
    wms.call("GET", "/api/jobspan/jobs/1/peek", token=None)
    failed, refused = spans_of(wms, "GET /api/jobspan/jobs/{job_id}/peek", 2)
    assert (failed.is_error, failed.attributes[names.ERROR_TYPE]) == (True, "500")
    assert (refused.is_error, refused.attributes[names.HTTP_CODE]) == (False, 401)


def test_the_collector_gets_what_the_file_has(tmp_path: Path) -> None:
    """With an endpoint every span goes there too, and again when the collector was away."""
    with collector() as there:
        there.replies.append(Reply(status=503))
        options = {"Telemetry": {"OTLPEndpoint": there.endpoint}}
        with running_wms(tmp_path, observed=True, overrides=options) as wms:
            wms.call("GET", "/api/jobspan/info")
            eventually(lambda: there.spans().count(INFO) == 2, 60, "the span to come again")
            assert len(spans_of(wms, INFO)) == 1


def test_a_collector_that_hangs_stops_no_call(tmp_path: Path) -> None:
    """Calls are served, and spans reach the file, while the collector accepts and never answers."""
    with black_hole() as hole:
        options = {"Telemetry": {"OTLPEndpoint": hole, "OTLPTimeout": 1.0}}
        with running_wms(tmp_path, observed=True, overrides=options) as wms:
            for _ in range(3):
                assert wms.call("GET", "/api/jobspan/info").status_code == 200
                spans_of(wms, INFO)
            assert len(spans_of(wms, INFO, 3)) == 3


def test_without_a_sink_no_span_is_made(tmp_path: Path) -> None:
    """TraceFileSize 0 writes no file; there is not even a thread."""
    others = threading.enumerate()  # one of a WMS before may still wait for its collector
    with running_wms(tmp_path, observed=True, overrides={"WMS": {"TraceFileSize": 0}}) as wms:
        wms.call("GET", "/api/jobspan/info")
        assert "call-spans" not in {thread.name for thread in threading.enumerate() if thread not in others}
    assert not (tmp_path / "telemetry").exists()


# --- the shipper alone ----------------------------------------------------------------------------

WMS = WmsIdentity(wms_id="w", version="1", host_name="h")


def call_span(number: int) -> CallSpan:
    return CallSpan(
        trace_id=f"{number + 1:032x}", span_id=f"{number + 1:016x}", method="GET", route="/x", status_code=200,
        start_ns=1, end_ns=2, call_id=str(number),
    )  # fmt: skip


def test_what_is_too_much_is_dropped_and_counted(tmp_path: Path) -> None:
    """Beyond the rate and beyond the queue: the span is gone, the count is exact, and what was kept arrives."""
    shipper = CallShipper(WMS, file=SpanFile(tmp_path / "t.jsonl", 1 << 20), http=None, rate=10.0, queue_limit=4)
    for number in range(100):
        shipper.offer(call_span(number))
    assert shipper.queued == 4
    assert sum(shipper.dropped.values()) == 96
    assert set(shipper.dropped) == {"rate", "queue"}
    shipper.start()
    shipper.stop(60)
    assert not shipper.is_alive()
    assert [span.attributes[names.CALL_ID] for span in read_spans(tmp_path / "t.jsonl").spans] == ["0", "1", "2", "3"]


def test_an_allowance_is_refilled_by_time() -> None:
    """A second's worth at once, then as time goes by; less than one a second is possible."""
    now = [0.0]
    allowance = Allowance(2.0, lambda: now[0])
    assert [allowance.take() for _ in range(3)] == [True, True, False]
    now[0] = 0.5
    assert [allowance.take() for _ in range(2)] == [True, False]
    now[0] = 60.0
    assert [allowance.take() for _ in range(3)] == [True, True, False]
    slow = Allowance(0.5, lambda: now[0])
    assert not slow.take()
    now[0] = 62.0
    assert [slow.take() for _ in range(2)] == [True, False]


def test_the_file_is_turned_over_when_it_is_full(tmp_path: Path) -> None:
    """Two files at most, none above its size, and the newest line is always there."""
    file = SpanFile(tmp_path / "deep" / "t.jsonl", 100)
    for number in range(10):
        file.append(f"{number:039}\n".encode())
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["t.1.jsonl", "t.jsonl"]
    assert file.path.read_text().split()[-1].endswith("9")
    assert max(path.stat().st_size for path in (file.path, file.older)) <= 100


def test_a_disk_that_is_full_costs_spans_only(tmp_path: Path) -> None:
    """What cannot be written is counted, and the thread lives on."""
    (tmp_path / "file").write_text("no folder")
    shipper = CallShipper(WMS, file=SpanFile(tmp_path / "file" / "t.jsonl", 1 << 20), http=None, rate=10.0)
    shipper.offer(call_span(1))
    shipper.start()
    eventually(lambda: shipper.dropped.get("file") == 1, 60, "the span to be counted")
    assert shipper.is_alive()
    shipper.stop(60)


def test_a_collector_that_is_away_for_long_costs_the_oldest(tmp_path: Path) -> None:
    """The last batches are kept in memory; older ones are dropped and counted; a refusal for good is not repeated."""
    with collector() as there:
        there.replies += [Reply(status=503), Reply(status=400)]
        shipper = CallShipper(WMS, file=None, http=OtlpHttp.at(there.endpoint), rate=1e9, queue_limit=1 << 20)
        for number in range(512 * 10):
            shipper.offer(call_span(number))
        shipper.start()
        eventually(lambda: shipper.dropped.get("collector", 0) >= 1024, 60, "the oldest to be dropped")
        shipper.stop(60)
        assert dict(shipper.dropped) == {"collector": 1024 + 512}
        assert len(there.received) == 1 + 8
        assert shipper.queued == 0
