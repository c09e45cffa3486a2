"""/metrics and /healthz over real sockets."""

import gzip
import http.client
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from telemetry.live import exposition
from telemetry.live.exposition import ExposureRefused, MetricsServer, is_loopback, render_metrics
from telemetry.live.metrics import JobMetrics, SelfStatus
from tests.support.clock import JumpClock
from tests.support.waiting import eventually

OPENMETRICS = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3"


@pytest.fixture
def metrics(tmp_path: Path) -> JobMetrics:
    """Metrics of an agent without jobs."""
    return JobMetrics(tmp_path / "counters.jsonl", JumpClock(), version="1.0")


@pytest.fixture
def server(metrics: JobMetrics) -> Iterator[MetricsServer]:
    """They are served on loopback."""
    running = MetricsServer(metrics)
    running.start()
    yield running
    running.close()


def ask(
    server: MetricsServer, path: str = "/metrics", method: str = "GET", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers (lower case) and body of one request."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    finally:
        connection.close()


def test_prometheus_gets_openmetrics_others_get_text(server: MetricsServer) -> None:
    """The format is negotiated, and each is what its own parser reads."""
    status, headers, body = ask(server, Accept=OPENMETRICS)
    assert status == 200
    assert headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert body.endswith(b"# EOF\n")
    assert len(list(parse_openmetrics(body.decode()))) > 10
    for accept in ("", "text/plain", "*/*", "application/openmetrics-text; version=nonsense"):
        status, headers, body = ask(server, Accept=accept)
        assert status == 200
        assert headers["content-type"].startswith("text/plain")
        assert len(list(parse_text(body.decode()))) > 10


@pytest.mark.parametrize(
    "scheme", ["", ";escaping=allow-utf-8", ";escaping=underscores", ";escaping=dots", ";escaping=values"]
)
def test_the_fast_way_says_the_same(metrics: JobMetrics, scheme: str) -> None:
    """In every scheme of escaping the bytes are those of the library's own way, which looks at each letter."""
    for kind in ("application/openmetrics-text;version=1.0.0", "text/plain;version=1.0.0"):
        encode, content_type = choose_encoder(kind + scheme)
        assert render_metrics(metrics.registry(), kind + scheme) == (encode(metrics.registry()), content_type)


def test_gzip_when_asked(server: MetricsServer) -> None:
    """Prometheus asks for gzip and gets it; others get plain bytes of the promised length."""
    _, headers, body = ask(server, Accept_Encoding="gzip")
    assert headers["content-encoding"] == "gzip"
    assert b"jobspan_build_info" in gzip.decompress(body)
    _, headers, body = ask(server, Accept_Encoding="identity")
    assert "content-encoding" not in headers
    assert int(headers["content-length"]) == len(body)


def test_health_unknown_paths_and_methods(server: MetricsServer) -> None:
    """/healthz says ok, other paths 404, other methods 405; HEAD has no body."""
    assert ask(server, "/healthz")[::2] == (200, b"ok\n")
    assert ask(server, "/")[0] == 404
    assert ask(server, "/metrics/../etc/passwd")[0] == 404
    status, headers, _ = ask(server, method="POST")
    assert (status, headers["allow"]) == (405, "GET, HEAD")
    status, headers, body = ask(server, method="HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["content-length"]) > 100


def test_a_token_is_asked_for(metrics: JobMetrics) -> None:
    """With a token only its bearer reads the metrics; health needs none."""
    server = MetricsServer(metrics, token="s3cret-token")
    server.start()
    try:
        assert ask(server)[0] == 401
        for wrong in ("Bearer wrong", "Bearer", "Basic s3cret-token", "s3cret-token", "Bearer s3cret-token-and-more"):
            status, headers, body = ask(server, Authorization=wrong)
            assert (status, headers["www-authenticate"]) == (401, "Bearer")
            assert b"jobspan" not in body
        assert ask(server, Authorization="bearer s3cret-token")[0] == 200
        assert ask(server, "/healthz")[0] == 200
    finally:
        server.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])
def test_beyond_loopback_a_token_is_needed(metrics: JobMetrics, host: str) -> None:
    """Without a token no address that others reach is even bound."""
    assert not is_loopback(host)
    with pytest.raises(ExposureRefused, match="MetricsTokenFile"):
        MetricsServer(metrics, host=host)


def test_the_ends_of_loopback(metrics: JobMetrics) -> None:
    """127/8, ::1 and localhost are loopback, and IPv6 is served too where the machine has it."""
    assert all(map(is_loopback, ("127.0.0.1", "127.1.2.3", "::1", "localhost")))
    if socket.has_ipv6:
        try:
            server = MetricsServer(metrics, host="::1")
        except OSError:
            pytest.skip("no IPv6 on this machine")
        assert server.url == f"http://[::1]:{server.port}/metrics"
        server.close()


def test_a_failing_collector_is_a_500(tmp_path: Path) -> None:
    """When a figure cannot be had the scraper is told, and the next request is served again."""
    broken = [True]

    def status() -> SelfStatus:
        if broken[0]:
            raise RuntimeError("no figure")
        return SelfStatus()

    server = MetricsServer(JobMetrics(tmp_path / "c.jsonl", JumpClock(), version="1", status=status))
    server.start()
    try:
        status_code, _, body = ask(server)
        assert status_code == 500
        assert b"no figure" not in body
        broken[0] = False
        assert ask(server)[0] == 200
    finally:
        server.close()


def test_hanging_clients_do_not_lock_others_out(server: MetricsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that connect and say nothing hold a bounded number of threads for a bounded time."""
    monkeypatch.setattr(exposition, "REQUEST_TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr(exposition._Handler, "timeout", 600.0)  # not this one, of a single read, has them go
    hanging = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(exposition.MOST_THREADS + 4)]

    def answered() -> bool:
        try:
            return ask(server, "/healthz")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    try:
        eventually(answered)
    finally:
        for each in hanging:
            each.close()


def test_many_scrapes_at_once(server: MetricsServer) -> None:
    """Scrapers do not disturb each other."""
    answers: list[int] = []
    threads = [threading.Thread(target=lambda: answers.append(ask(server)[0])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert answers == [200] * 4


def test_closing_frees_the_port(metrics: JobMetrics) -> None:
    """After close nobody listens; a server that was never started closes too."""
    server = MetricsServer(metrics)
    server.start()
    server.close()
    with pytest.raises(OSError, match="refused"):
        ask(server)
    MetricsServer(metrics).close()
