"""The door for a payload's own spans and logs, with the official exporter and with hostile callers."""

import contextlib
import http.client
import os
import socket
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from runner.agent.folders import JobFolder
from runner.agent.outbox import outbox_of, reopen
from runner.compose.outbox import documents
from runner.compose.payload_telemetry import PayloadTelemetry
from runner.config import Config
from runner.redaction import Redactor
from runner.wrapper.arguments import WrapperArguments
from telemetry.clock import SystemClock
from telemetry.conventions import PAYLOAD_RESOURCE
from telemetry.identity import span_id, trace_id
from telemetry.live import payload_http
from telemetry.live.otlp_files import PAYLOAD as PAYLOAD_FILES
from telemetry.live.otlp_files import OtlpFiles, read_spans
from telemetry.live.otlp_http import OtlpHttp
from telemetry.live.payload_desk import Refused
from telemetry.live.payload_door import MOST_PLACES
from telemetry.live.payload_shipping import PayloadShipper, PayloadShipping
from telemetry.live.payload_spool import FILE_SINK, HTTP_SINK, KEY, held, issue, owes, spool, void
from telemetry.live.shipping import Shipping
from telemetry.live.traces import depth_first, job_trace
from telemetry.outbox import Acknowledgements
from tests.support.attempts import play, uid_of
from tests.support.collector import Collector, Reply, collector
from tests.support.payload_door import OWN_SECRET, SECRET, Doorway, bomb, doorway, logs, span, text, traces
from tests.support.waiting import eventually

TRACE, PAYLOAD = trace_id(uid_of()), span_id(uid_of(), "job/execute/payload")
ELSEWHERE = "ab" * 16
ACCOUNTING = "jobspan.job.accounting"


@pytest.fixture
def way(tmp_path: Path) -> Iterator[Doorway]:
    """A door with wide limits."""
    with doorway(tmp_path) as each:
        yield each


# --- what is taken --------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip])
def test_the_official_exporter_is_understood(way: Doorway, compression: Compression) -> None:
    """A span by the SDK's own exporter, in protobuf, with and without gzip, stands in the spool as it was sent."""
    exporter = OTLPSpanExporter(
        f"{way.door.url}/v1/traces", headers={"authorization": f"Bearer {way.token}"}, compression=compression
    )
    provider = TracerProvider(resource=Resource.create({"service.name": "mine"}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with provider.get_tracer("my.code").start_as_current_span("fit", attributes={"events": 12}):
        pass
    provider.shutdown()
    (found,) = way.spans()
    assert (found.name, found.attributes, found.resource["service.name"]) == ("fit", {"events": 12}, "mine")
    ours = {name: value for name, value in found.resource.items() if name.startswith("jobspan")}
    assert ours == dict(zip(PAYLOAD_RESOURCE, (7, 1, uid_of()), strict=True))


def test_chunks_are_understood(way: Doorway) -> None:
    """JSON in chunks, as some SDKs send it, with no length."""
    body = traces(span())
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {way.token}"}
    chunks = iter([body[:100], body[100:]])
    assert way.call("POST", "/v1/traces", chunks, headers, encode_chunked=True).status == 200
    assert [each.name for each in way.spans()] == ["fit"]


def test_all_comes_into_the_trace_of_the_attempt(way: Doorway) -> None:
    """Who knows nothing of TRACEPARENT is below the payload's span all the same, and has a link to where he was."""
    root = span(1, traceId=ELSEWHERE, parentSpanId="")
    child = span(2, traceId=ELSEWHERE, parentSpanId=root["spanId"])
    assert way.send(span(3), root, child).status == 200
    known, moved, below = way.spans()
    assert {each.trace_id for each in (known, moved, below)} == {TRACE}
    assert [each.parent_span_id for each in (known, moved, below)] == [PAYLOAD, PAYLOAD, moved.span_id]
    (link,) = moved.links
    assert (link.trace_id, link.span_id, link.attributes) == (
        ELSEWHERE,
        root["spanId"],
        {"jobspan.link.type": "original"},
    )
    assert known.links == below.links == ()


def test_logs_belong_to_the_payload(way: Doorway) -> None:
    """A log record gets trace, span, time and an id of its own; the same body gives the same id."""
    body = logs({"body": {"stringValue": "one"}}, {"body": {"stringValue": "two"}, "spanId": "cd" * 8})
    assert way.post("/v1/logs", body).status == 200
    one, two = way.logs()
    assert (one["traceId"], one["spanId"], two["spanId"]) == (TRACE, PAYLOAD, "cd" * 8)
    assert int(one["observedTimeUnixNano"]) > 0
    ids = [each["attributes"][-1]["value"]["stringValue"] for each in (one, two)]
    assert len({*ids}) == 2
    assert all(each.startswith(f"{uid_of()}/payload/") for each in ids)


@pytest.mark.parametrize(
    "bare",
    [
        {"name": ""},
        {"events": [{"attributes": [text("a", "b")]}]},
        {"links": [{}]},
        {"attributes": [{"value": {"stringValue": "b"}}]},
        {"attributes": [{"key": "a"}]},
        {"attributes": [{"key": "a", "value": {"kvlistValue": {"values": [{"value": {"intValue": "0"}}, {}]}}}]},
        {"attributes": [{"key": "a", "value": {"arrayValue": {"values": [{}]}}}]},
        {"kind": 0, "status": {}, "parentSpanId": ""},
    ],
    ids=str,
)
def test_what_is_empty_hides_nothing(way: Doorway, bare: dict[str, Any]) -> None:
    """JSON leaves out what is empty: a span that was taken can be read, whatever it lacks, and with it the others."""
    assert way.send(span(1), span(2, **bare)).json == {}
    assert [each.span_id for each in way.spans()] == [span(1)["spanId"], span(2)["spanId"]]


def test_what_comes_again_is_taken_once(way: Doorway) -> None:
    """An exporter whose answer was lost sends its batch again: it is told the same, and the spool has it once."""
    body = traces(span())
    assert [way.post("/v1/traces", body).status for _ in range(3)] == [200] * 3
    assert len(way.spans()) == 1


def test_secrets_are_masked(way: Doorway) -> None:
    """In names, attributes, events, resource, bytes and bodies of logs; also the one that lets the payload in, and
    those that its job has brought along."""
    hidden = base64_of(f"<{SECRET}>")
    sent = span(
        name=f"get {SECRET}",
        attributes=[text("url", "https://me:pw@host/" + SECRET), {"key": "raw", "value": {"bytesValue": hidden}}],
        events=[{"name": "x", "attributes": [text("token", way.key.secret), text("own", OWN_SECRET)]}],
    )
    assert way.send(sent, process_command=f"--password {SECRET}").status == 200
    assert way.post("/v1/logs", logs({"body": {"kvlistValue": {"values": [text("a", SECRET)]}}})).status == 200
    kept = spool(way.control, "traces").read_text() + spool(way.control, "logs").read_text()
    assert [each for each in (SECRET, OWN_SECRET, way.key.secret, hidden) if each in kept] == []
    assert way.spans()[0].name == "get ***"


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("forged", "word"),
    [
        ({"attributes": [text("jobspan.job.id", "8")]}, "attribute"),
        ({"attributes": [text(" JobSpan.accounting.cpu_time", "8")]}, "attribute"),
        ({"name": "jobspan.job"}, "span"),
        ({"events": [{"name": "jobspan.x"}]}, "event"),
        ({"events": [{"name": "x", "attributes": [text("jobspan.x", "")]}]}, "attribute"),
        ({"links": [{"traceId": ELSEWHERE, "spanId": "ab" * 8, "attributes": [text("jobspan.link.type", "")]}]},
         "attribute"),
        ({"spanId": span_id(uid_of(), "job")}, "id"),
        ({"spanId": PAYLOAD}, "id"),
        ({"spanId": "0" * 16}, "ids"),
        ({"traceId": "ab"}, "ids"),
        ({"startTimeUnixNano": "1"}, "times"),
        ({"endTimeUnixNano": "1"}, "times"),
        ({"endTimeUnixNano": str(2**63)}, "times"),
    ],
)  # fmt: skip
def test_a_forged_span_is_refused_in_words(way: Doorway, forged: dict[str, Any], word: str) -> None:
    """What bears our names, or ids that are not its own, is refused, and the answer says so; the rest is taken."""
    answer = way.send(span(1), span(2, **forged))
    partial = answer.json["partialSuccess"]
    assert (answer.status, partial["rejectedSpans"]) == (200, "1")
    assert word in partial["errorMessage"]
    assert [each.span_id for each in way.spans()] == [span(1)["spanId"]]


@pytest.mark.parametrize(
    "resource",
    [{"service_name": "jobspan"}, {"service_name": "jobspan-wms"}, {"service_name": "site-jobs"},
     {"jobspan_job_id": "8"}, {"jobspan_site_name": "x"}],
)  # fmt: skip
def test_nobody_speaks_under_our_name(way: Doorway, resource: dict[str, str]) -> None:
    """A resource with a service of the site's, or with another job's identity, is refused with all that it has."""
    assert way.send(span(1), span(2), **resource).json["partialSuccess"]["rejectedSpans"] == "2"
    assert not spool(way.control, "traces").exists()


def test_what_the_payload_was_told_it_may_say(way: Doorway) -> None:
    """OTEL_RESOURCE_ATTRIBUTES of its own job come back with every span: that is no forgery."""
    told = {"jobspan_job_id": "7", "jobspan_job_attempt": "1", "jobspan_job_uid": uid_of()}
    assert way.send(span(), **told).json == {}
    assert way.spans()[0].resource["jobspan.job.id"] == 7


def test_our_scope_is_ours(way: Doorway) -> None:
    """Neither the scope jobspan, nor attributes of ours on a scope."""
    for scope in ({"name": "jobspan"}, {"name": "x", "attributes": [text("jobspan.x", "")]}):
        answer = way.post("/v1/traces", traces(span(), scope=scope))
        assert answer.json["partialSuccess"]["rejectedSpans"] == "1"


@pytest.mark.parametrize(
    "record",
    [
        {"eventName": ACCOUNTING},
        {"attributes": [text("event.name", ACCOUNTING)]},
        {"attributes": [text("jobspan.accounting.cpu_time", "0")]},
        {"attributes": [text("log.record.uid", f"{uid_of(8)}/wrapper/1")]},
    ],
)
def test_no_accounting_record_can_be_forged(way: Doorway, record: dict[str, Any]) -> None:
    """Neither its event's name, nor its attributes, nor the id under which readers fold it."""
    answer = way.post("/v1/logs", logs(record, {"body": {"stringValue": "x"}}))
    assert answer.json.get("partialSuccess", {}).get("rejectedLogRecords") == "1"
    assert len(way.logs()) == 1


def test_only_the_secret_of_the_job_lets_in(way: Doorway) -> None:
    """No secret, a wrong one, another job's, a path for a name: 401, and nothing is written anywhere."""
    other = way.control.parents[1] / "8.1" / "control"
    other.mkdir(parents=True)
    issue(other, way.key.new(uid=uid_of(8), job_id=8, attempt=1, service_name="b", since_utc_ns=1))
    name, _, secret = way.token.partition("~")
    wrong = ["", secret, f"8.1~{secret}", f"{name}~{secret}x", f"../jobs/{name}~", f"9.1~{secret}", "~", "\xe9~\xe9"]
    for token in wrong:
        answer = way.call("POST", "/v1/traces", traces(span()), {"Authorization": f"Bearer {token}"})
        assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer"), token
    assert way.call("POST", "/v1/traces", traces(span()), {"Authorization": f"Basic {way.token}"}).status == 401
    assert not spool(way.control, "traces").exists()
    assert [path.name for path in other.iterdir()] == ["payload_telemetry.json"]


def test_after_the_end_nothing_comes_in(way: Doorway) -> None:
    """The secret ends with the payload, also for a call that had begun before."""
    body = traces(span())
    with contextlib.closing(raw(way)) as caller:
        caller.sendall(head(way, f"Content-Length: {len(body)}"))
        assert caller.recv(1 << 10).startswith(b"HTTP/1.1 100")  # it was let in
        void(way.control)
        caller.sendall(body)
        assert b" 401 " in answer_of(caller)
    assert way.send(span()).status == 401
    assert not spool(way.control, "traces").exists()


def test_a_key_that_was_taken_away_meanwhile_is_void(way: Doorway) -> None:
    """Whoever waited for the lock while the payload's end took the key away finds none: nothing comes in behind it."""
    found: list[object] = []

    def wait() -> None:
        with held(way.control) as key:
            found.append(key)

    with held(way.control):
        waiting = threading.Thread(target=wait)
        waiting.start()
        eventually(lambda: is_waiting_for_a_lock(), 20)
        (way.control / KEY).unlink()
    waiting.join(20)
    assert found == [None]


def test_a_job_does_not_wait_for_an_agent_that_is_stopped(way: Doorway, tmp_path: Path) -> None:
    """Whoever holds the key for ever keeps no payload from its end; what ships takes it away later."""
    arguments = WrapperArguments.from_mapping(
        {"Job": {"Executable": "a", "JobID": 7}, "Jobspan": {"Attempt": 1, "UID": uid_of()}}
    )
    payload = PayloadTelemetry(Config(folder=tmp_path), arguments, way.control, redact=Redactor(), clock=SystemClock())
    with contextlib.ExitStack() as stack, payload() as door:
        assert door is not None
        stack.enter_context(held(way.control))
    assert (way.control / KEY).exists()
    assert void(way.control, 1.0)
    assert not (way.control / KEY).exists()


def is_waiting_for_a_lock() -> bool:
    """Whether a thread of ours waits for a flock, as the kernel tells."""
    waiting = [line.split() for line in Path("/proc/locks").read_text().splitlines() if "->" in line]
    return any(words[2] == "FLOCK" and words[5] == str(os.getpid()) for words in waiting)


@pytest.mark.parametrize(
    ("path", "headers", "body", "status"),
    [
        ("/v1/traces", {}, b"{", 400),
        ("/v1/traces", {}, b"[]", 400),
        ("/v1/traces", {}, b'{"resourceSpans": 3}', 400),
        ("/v1/traces", {}, b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "xyz"}]}]}]}', 400),
        ("/v1/logs", {}, b'{"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": {"stringValue": "\\ud800"}}]}]}]}',
         400),
        ("/v1/traces", {}, b"[" * 200_000, 400),
        ("/v1/traces", {"Content_Type": "application/x-protobuf"}, b"\xff" * 40, 400),
        ("/v1/traces", {"Content_Encoding": "gzip"}, b"not gzip", 400),
        ("/v1/traces", {"Content_Encoding": "gzip"}, bomb(1000)[:-9], 400),
        ("/v1/traces", {"Content_Encoding": "gzip"}, bomb(64 << 20), 413),
        ("/v1/traces", {}, bytes((4 << 20) + 1), 413),
        ("/v1/traces", {"Content_Encoding": "br"}, b"x", 415),
        ("/v1/traces", {"Content_Type": "text/html"}, b"x", 415),
        ("/v1/metrics", {}, b"{}", 404),
        ("/v1/trace", {}, b"{}", 404),
    ],
)  # fmt: skip
def test_what_is_no_telemetry_is_refused(
    way: Doorway, path: str, headers: dict[str, str], body: bytes, status: int
) -> None:
    """Bad bodies 400, too much 413, also when gzip hides it, foreign forms 415; in words, and the door stays open."""
    answer = way.post(path, body, **headers)
    assert answer.status == status
    assert len(answer.body) > 10
    assert way.send(span()).status == 200


@pytest.mark.parametrize(
    ("length", "status"),
    [
        (f"{'0' * 12}{payload_http.MOST_BYTES + 1}", 413),
        ("9" * 5000, 413),
        (f"{'0' * 5000}{payload_http.MOST_BYTES + 1}", 413),
        ("0" * 5000, 400),  # nothing, and that is no telemetry
        ("+5", 411),
        ("1_0", 411),
        ("\xb2", 411),
        ("", 411),
    ],
    ids=lambda value: str(value)[:10],
)
def test_a_length_is_judged_as_the_number_that_it_is(way: Doorway, length: str, status: int) -> None:
    """Whatever zeros stand before it: what is too large is refused before anything of it is read, what is no number
    too, and the door stays open."""
    with contextlib.closing(raw(way)) as caller:
        caller.sendall(head(way).removesuffix(b"\r\n") + f"Content-Length: {length}\r\n\r\n".encode("latin-1"))
        assert b" %d " % status in answer_of(caller)
    assert way.send(span()).status == 200


def test_a_bomb_takes_no_memory() -> None:
    """Of what gzip hides no more is unpacked than may be sent."""
    hidden = bomb(64 << 20)
    tracemalloc.start()
    try:
        with pytest.raises(Refused):
            payload_http.unpacked(hidden)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 4 * payload_http.MOST_BYTES


def test_the_words_of_a_refusal_are_as_the_protocol_wants_them(way: Doorway) -> None:
    """To a call in protobuf comes google.rpc.Status in protobuf: its field 2 is the text."""
    answer = way.post("/v1/metrics", b"", Content_Type="application/x-protobuf")
    said = b"metrics of payloads are not taken"
    assert (answer.headers["Content-Type"], answer.body[:1], said in answer.body) == (
        "application/x-protobuf", b"\x12", True,
    )  # fmt: skip


def test_other_methods_are_refused(way: Doorway) -> None:
    """There is nothing to be read at the door."""
    answer = way.call("GET", "/v1/traces", None, {})
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")


# --- how much -------------------------------------------------------------------------------------


def test_a_flood_is_slowed_down(tmp_path: Path) -> None:
    """Calls beyond the rate are answered with 429 and when to come again."""
    with doorway(tmp_path, requests_per_second=2.0) as way:
        answers = [way.send(span(number)) for number in range(16)]
    assert {each.status for each in answers} == {200, 429}
    assert {each.headers["Retry-After"] for each in answers if each.status == 429} == {"1"}


def test_the_log_says_once_what_was_refused(way: Doorway, caplog: pytest.LogCaptureFixture) -> None:
    """By job and kind, with what a payload calls itself in quotes: no line of the log is of its making."""
    for number in range(3):
        way.send(span(number, name="jobspan.\n7.1: all is well"))
        way.post("/v1/traces", b"{")
    said = [each.getMessage() for each in caplog.records]
    assert [each.partition(": ")[0] for each in said] == ["7.1", "7.1"]
    assert "\\n7.1: all is well" in said[0]
    assert "OTLP/JSON" in said[1]


def test_a_job_may_send_so_many(tmp_path: Path) -> None:
    """What is beyond the count is refused in partial success, then as a whole; also by the door of the next agent."""
    with doorway(tmp_path, items=3) as way:
        answer = way.send(*[span(number) for number in range(5)])
        assert answer.json["partialSuccess"]["rejectedSpans"] == "2"
        assert way.send(span(9)).status == 413
        assert len(way.spans()) == 3
    with doorway(tmp_path, items=3) as way:
        assert way.send(span(10)).status == 413


def test_a_job_may_send_so_much(tmp_path: Path) -> None:
    """Bytes are counted unpacked, and those of refused calls with them."""
    with doorway(tmp_path, total_bytes=2000) as way:
        assert way.post("/v1/traces", b"x" * 1900).status == 400
        assert way.send(span()).status == 413
        assert not spool(way.control, "traces").exists()


def test_one_who_says_nothing_keeps_nobody_out(way: Doorway) -> None:
    """More silent callers than there are places: one with a secret is heard at once."""
    with contextlib.ExitStack() as stack:
        for _ in range(2 * MOST_PLACES):
            stack.enter_context(contextlib.closing(raw(way))).sendall(b"POST /v1/tr")
        assert way.send(span()).status == 200


def test_a_slow_caller_is_cut_off(way: Doorway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a head nor a body may trickle: the call ends by its deadline, not by that of each byte."""
    with monkeypatch.context() as quick:
        quick.setattr(payload_http, "HEAD_SECONDS", 0.3)
        quick.setattr(payload_http, "CALL_SECONDS", 0.6)
        for start in (b"POST /v1/traces HTTP/1.1\r\n", head(way, "Content-Length: 1000")):
            with contextlib.closing(raw(way)) as caller:
                caller.sendall(start)
                eventually(lambda caller=caller: is_cut_off(caller), 10)  # type: ignore[misc]
    assert way.send(span()).status == 200


def test_a_disk_without_room_is_said(way: Doorway) -> None:
    """Nothing is acknowledged that is not on the disk: 503, and when to come again."""
    file = spool(way.control, "traces")
    assert way.send(span(1)).status == 200
    file.unlink()
    file.symlink_to("/dev/full")
    answer = way.send(span(2))
    assert (answer.status, answer.headers["Retry-After"]) == (503, "10")
    file.unlink()
    assert way.send(span(2)).status == 200
    assert [each.span_id for each in way.spans()] == [span(2)["spanId"]]


# --- where it goes --------------------------------------------------------------------------------


@pytest.fixture
def running() -> Iterator[Collector]:
    """A collector on loopback."""
    with collector() as each:
        yield each


def spooled(way: Doorway) -> None:
    """An attempt that has ended, whose payload has sent something."""
    assert way.send(span(1), span(2)).status == 200
    assert way.post("/v1/logs", logs({"body": {"stringValue": "x"}})).status == 200
    play(way.control)


def test_a_spool_reaches_files_and_collector_once(way: Doorway, tmp_path: Path, running: Collector) -> None:
    """However often it is asked for; and the secret is void from then on."""
    spooled(way)
    files = OtlpFiles(tmp_path / "telemetry", PAYLOAD_FILES)
    shipping = PayloadShipping(files, OtlpHttp.at(running.endpoint))
    for _ in range(3):
        assert shipping.ship(way.control).outcome == "accepted"
    assert [each.span_id for each in read_spans(files.traces).spans] == [span(1)["spanId"], span(2)["spanId"]]
    assert (running.spans(), running.uids()) == (["fit", "fit"], [uid_of()])
    assert way.send(span(3)).status == 401


def test_a_collector_that_was_away_gets_it_later(way: Doorway, tmp_path: Path, running: Collector) -> None:
    """The thread of the next agent finds the spool, and what the collector has taken is not sent again."""
    spooled(way)
    running.replies += [Reply(), Reply(status=503)]
    shipping = PayloadShipping(OtlpFiles(tmp_path / "telemetry", PAYLOAD_FILES), OtlpHttp.at(running.endpoint))
    shipper = PayloadShipper(shipping, tmp_path / "jobs")
    shipper.start()
    try:
        eventually(lambda: not owes(way.control, HTTP_SINK), 20)
        eventually(lambda: shipper.pending() == {FILE_SINK: 0, HTTP_SINK: 0}, 20)
    finally:
        assert shipper.stop(10.0)
    assert [each.path for each in running.received] == ["/v1/traces", "/v1/logs", "/v1/logs"]


def test_what_a_collector_refuses_is_a_dead_letter(way: Doorway, tmp_path: Path, running: Collector) -> None:
    """It blocks nothing, and is told with its reason."""
    spooled(way)
    running.replies.append(Reply(status=400))
    shipping = PayloadShipping(OtlpFiles(tmp_path / "telemetry", PAYLOAD_FILES), OtlpHttp.at(running.endpoint))
    assert shipping.ship(way.control).outcome == "dead"
    assert Acknowledgements(way.control, HTTP_SINK).dead == {"payload": "the collector answered 400"}
    assert len(running.received) == 2


def test_the_outbox_lists_and_exports_them(way: Doorway, tmp_path: Path, running: Collector) -> None:
    """What is pending, what is dead, with its body; and a dead letter that is re-opened goes out again."""
    spooled(way)
    (folder,) = JobFolder.all(tmp_path / "jobs")
    listed = [each for each in outbox_of(folder, collector=True) if each.kind == "payload telemetry"]
    assert [(each.sink, each.state) for each in listed] == [(FILE_SINK, "pending"), (HTTP_SINK, "pending")]
    assert listed[0].size_bytes > 500
    running.replies.append(Reply(status=400))
    shipping = PayloadShipping(OtlpFiles(tmp_path / "telemetry", PAYLOAD_FILES), OtlpHttp.at(running.endpoint))
    assert shipping.ship(way.control).outcome == "dead"
    (dead,) = [each for each in outbox_of(folder, collector=True) if each.state == "dead"]
    (document,) = documents(Config(folder=tmp_path), [dead], SystemClock())
    assert (dead.kind, len(document["Body"]["traces"]), len(document["Body"]["logs"])) == ("payload telemetry", 1, 1)
    assert reopen(tmp_path / "agent", [dead]) == 1
    assert shipping.ship(way.control).outcome == "accepted"
    assert running.spans() == ["fit"] * 4  # the refused ones were received, too


def test_a_trace_shows_them_below_the_payload(way: Doorway, tmp_path: Path) -> None:
    """Also a span whose parent never arrived."""
    assert way.send(span(1), span(2, parentSpanId="ab" * 8), span(3, parentSpanId=span(1)["spanId"])).status == 200
    play(way.control)
    files = OtlpFiles(tmp_path / "telemetry", PAYLOAD_FILES)
    ours = OtlpFiles(tmp_path / "telemetry")
    Shipping(ours).ship(way.control, None)
    PayloadShipping(files, None).ship(way.control)
    (attempt,) = job_trace(ours.traces, 7, beside=[files.traces]).attempts
    rows = depth_first(attempt)
    at = next(number for number, (_, each) in enumerate(rows) if each.span_id == PAYLOAD)
    depth = rows[at][0]
    assert [(below - depth, each.span_id) for below, each in rows[at + 1 : at + 4]] == [
        (1, span(1)["spanId"]), (2, span(3)["spanId"]), (1, span(2)["spanId"]),
    ]  # fmt: skip


def test_a_guessed_id_of_ours_is_left_out(way: Doorway, tmp_path: Path) -> None:
    """A span under the id that one of our own sub-spans got later does not stand beside it."""
    play(way.control)
    files = OtlpFiles(tmp_path / "telemetry", PAYLOAD_FILES)
    PayloadShipping(files, None).ship(way.control)
    ours = span_id(uid_of(), "job/initialize/http", 1)
    issue(way.control, way.key)
    assert way.send(span(1), span(2, spanId=ours)).status == 200
    PayloadShipping(files, None).ship(way.control)
    assert [each.span_id for each in read_spans(files.traces).spans] == [span(1)["spanId"]]


# --- helpers --------------------------------------------------------------------------------------


def base64_of(content: str) -> str:
    """As bytes stand in OTLP/JSON."""
    import base64

    return base64.b64encode(content.encode()).decode()


def raw(way: Doorway) -> socket.socket:
    """A bare connection to the door."""
    host, _, port = way.door.url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=20)


def head(way: Doorway, *lines: str) -> bytes:
    """The head of a call that waits to be let in."""
    given = (
        "POST /v1/traces HTTP/1.1", "Host: x", "Content-Type: application/json", "Expect: 100-continue",
        f"Authorization: Bearer {way.token}", *lines,
    )  # fmt: skip
    return "\r\n".join((*given, "", "")).encode()


def answer_of(caller: socket.socket) -> bytes:
    """All that comes."""
    response = http.client.HTTPResponse(caller)
    with contextlib.closing(response):
        response.begin()
        return f" {response.status} ".encode() + response.read()


def is_cut_off(caller: socket.socket) -> bool:
    """Whether the other side has closed; what it said before is read."""
    try:
        caller.sendall(b"x")
        caller.setblocking(False)
        return any(not piece for piece in iter(lambda: caller.recv(1 << 10), None))
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        with contextlib.suppress(OSError):
            caller.settimeout(20)
