"""The sender against a real collector on loopback: accepted means accepted."""

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsPartialSuccess,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)

from telemetry.live.otlp_http import OtlpHttp, SendResult
from telemetry.live.spans import render
from tests.support.attempts import play, uid_of
from tests.support.collector import Collector, Reply, collector
from tests.support.ports import free_port
from tests.support.waiting import at_best

RENDERED = render(play().entries, {"UID": uid_of(), "EndTime": "2026-01-15T12:00:09.500000Z"})


@pytest.fixture
def running() -> Iterator[Collector]:
    """A collector on loopback."""
    with collector() as each:
        yield each


def send(running: Collector, reply: Reply | None = None, **options: object) -> SendResult:
    """Send the spans, to be answered with *reply*."""
    if reply:
        running.replies.append(reply)
    sender = OtlpHttp.at(running.endpoint, **{"timeout_seconds": 20.0, **options})  # type: ignore[arg-type]
    try:
        return sender.send_spans(RENDERED.spans)
    finally:
        sender.close()


def test_spans_and_records_arrive(running: Collector) -> None:
    """Both signals arrive at their paths as gzipped protobuf, and are accepted."""
    sender = OtlpHttp.at(running.endpoint + "/", timeout_seconds=20.0)
    assert sender.send_spans(RENDERED.spans).outcome == "accepted"
    assert sender.send_logs(RENDERED.logs).outcome == "accepted"
    sender.close()
    assert [each.path for each in running.received] == ["/v1/traces", "/v1/logs"]
    assert {each.headers["Content-Encoding"] for each in running.received} == {"gzip"}
    assert "jobspan.job" in running.spans()
    assert running.uids() == [uid_of()]


def test_headers_are_sent(running: Collector) -> None:
    """Headers of the target stand in every request, as they are."""
    send(running, headers=(("authorization", "Bearer abc"), ("x-tenant", "a b")))
    headers = {name.lower(): value for name, value in running.received[0].headers.items()}
    assert headers["authorization"] == "Bearer abc"
    assert headers["x-tenant"] == "a b"


def test_json_answers_are_read(running: Collector) -> None:
    """A collector may answer in JSON, with fields that we do not know."""
    assert send(running, Reply(content_type="application/json; charset=utf-8", body=b'{"new":1}')).outcome == "accepted"
    partial = b'{"partialSuccess":{"rejectedSpans":"2","errorMessage":"too old"}}'
    result = send(running, Reply(content_type="application/json", body=partial))
    assert (result.outcome, result.rejected, result.detail) == ("dead", 2, "too old")


def test_a_partial_rejection_is_no_success(running: Collector) -> None:
    """What the collector rejects is counted and never sent again, as the specification forbids it."""
    body = ExportTraceServiceResponse(
        partial_success=ExportTracePartialSuccess(rejected_spans=3, error_message="quota")
    ).SerializeToString()
    assert send(running, Reply(body=body)) == SendResult(outcome="dead", detail="quota", rejected=3)
    running.replies.append(
        Reply(
            body=ExportLogsServiceResponse(
                partial_success=ExportLogsPartialSuccess(rejected_log_records=1)
            ).SerializeToString()
        )
    )
    sender = OtlpHttp.at(running.endpoint)
    assert sender.send_logs(RENDERED.logs).rejected == 1
    sender.close()


def test_a_quoted_header_is_masked(running: Collector) -> None:
    """A collector that quotes our credentials in its refusal does not bring them into what we note of it."""
    body = ExportTraceServiceResponse(
        partial_success=ExportTracePartialSuccess(
            rejected_spans=1, error_message="bad token abcdefgh-secret " + "x" * 999
        )
    ).SerializeToString()
    result = send(running, Reply(body=body), headers=(("authorization", "Bearer abcdefgh-secret"),))
    assert result.detail.startswith("bad token *** x")
    assert len(result.detail) == 300


def test_a_warning_is_a_success(running: Collector) -> None:
    """A partial success that rejects nothing only carries a message."""
    body = ExportTraceServiceResponse(
        partial_success=ExportTracePartialSuccess(error_message="slow down")
    ).SerializeToString()
    assert send(running, Reply(body=body)) == SendResult(outcome="accepted", detail="slow down")


@pytest.mark.parametrize(
    "reply",
    [
        Reply(content_type="text/html", body=b"<html>please log in</html>"),
        Reply(content_type="", body=b""),
        Reply(body=b"\xff\xff\xff"),
        Reply(content_type="application/json", body=b"<html>"),
        Reply(content_type="application/json", body=b"\xff"),
        Reply(body=b"\x00" * (1 << 20)),
        Reply(status=204),
        Reply(status=302, headers={"Location": "/login"}),
        Reply(status=401),
        Reply(status=408),
        Reply(status=429),
        Reply(status=500),
        Reply(status=503),
    ],
    ids=lambda reply: f"{reply.status} {reply.content_type} {reply.body[:4]!r}",
)
def test_what_may_pass_is_tried_again(running: Collector, reply: Reply) -> None:
    """A login page, a redirect, an expired token and a server error are neither success nor the end."""
    assert send(running, reply).outcome == "retry"
    assert len(running.received) == 1


@pytest.mark.parametrize("status", [400, 403, 404, 413])
def test_what_cannot_succeed_is_dead(running: Collector, status: int) -> None:
    """A 4xx that no repetition mends does not come back."""
    assert send(running, Reply(status=status)) == SendResult(outcome="dead", detail=f"the collector answered {status}")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("7", 7.0), ("100000", 300.0), ("soon", None), ("-1", None), ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0)],
)
def test_retry_after_is_heard_within_reason(running: Collector, text: str, seconds: float | None) -> None:
    """Retry-After as a number or a date is passed on, at most five minutes of it."""
    result = send(running, Reply(status=503, headers={"Retry-After": text}))
    assert (result.outcome, result.retry_after_seconds) == ("retry", seconds)


def test_nobody_there_is_tried_again() -> None:
    """A refused connection is to be tried again, and the message names no URL, which may hold a password."""
    sender = OtlpHttp.at(f"http://user:secretpassword@127.0.0.1:{free_port()}", timeout_seconds=1.0)
    result = sender.send_spans(RENDERED.spans)
    sender.close()
    assert result.outcome == "retry"
    assert "secretpassword" not in result.detail


def test_a_black_hole_costs_the_timeout_and_no_more() -> None:
    """A collector that accepts and never answers is given up after the timeout."""
    with socket.create_server(("127.0.0.1", 0)) as hole:
        sender = OtlpHttp.at(f"http://127.0.0.1:{hole.getsockname()[1]}", timeout_seconds=0.3)
        at_best(3.0, lambda _: retried_after_seconds(sender))
        sender.close()


def retried_after_seconds(sender: OtlpHttp) -> float:
    """How long it takes until the sender gives a collector up."""
    begun = time.monotonic()
    assert sender.send_spans(RENDERED.spans).outcome == "retry"
    return time.monotonic() - begun


def test_a_trickling_answer_is_cut_off() -> None:
    """A collector that sends a byte now and then cannot hold the sender for ever."""
    enough = threading.Event()

    def trickle(server: socket.socket) -> None:
        while not enough.is_set():
            with suppress(OSError), server.accept()[0] as connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\n\r\n")
                while not enough.wait(0.05):
                    connection.sendall(b"\0" * 4096)

    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
        trickling = pool.submit(trickle, server)
        sender = OtlpHttp.at(f"http://127.0.0.1:{server.getsockname()[1]}", timeout_seconds=0.4)
        try:
            at_best(5.0, lambda _: retried_after_seconds(sender))
        finally:
            enough.set()
            sender.close()
            server.shutdown(socket.SHUT_RDWR)
        trickling.result(20)
