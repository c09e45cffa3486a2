"""What is sent arrives at a real OpenTelemetry Collector, by every header, certificate and packing of the variables.

The attempts are played; `tests/e2e/test_collector_jobs.py` has real ones.
"""

import itertools
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.compose.shipping import shipping
from runner.config import load
from telemetry.journal import read_journal
from telemetry.ledger.builder import build
from telemetry.live.shipper import Shipper
from telemetry.live.shipping import Shipping, ShipResult
from telemetry.outbox import OTLP_DELIVERER, Acknowledgements, last_try
from tests.support.attempts import play, uid_of
from tests.support.certificates import Certificates, make
from tests.support.components import collector_program, require
from tests.support.otelcol import OtelCollector, otelcol
from tests.support.tree import ROOT
from tests.support.waiting import eventually

TOKEN = "collectors-own-token"
#: The pauses of a shipper grow with the time that a collector takes to start.
PATIENCE_SECONDS = 120.0


@pytest.fixture(scope="module")
def plain() -> Iterator[OtelCollector]:
    """A collector that takes everything."""
    with otelcol() as running:
        yield running


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Of an authority that nobody else knows."""
    return make(tmp_path_factory.mktemp("certificates"), "127.0.0.1")


@pytest.fixture(scope="module")
def guarded(
    certificates: Certificates, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[OtelCollector, Path]]:
    """A collector with TLS that asks for a certificate and for a bearer token; and the file in which it has that."""
    token = tmp_path_factory.mktemp("collector") / "token"
    token.write_text(TOKEN)
    tls = {
        "cert_file": str(certificates.certificate),
        "key_file": str(certificates.key),
        "client_ca_file": str(certificates.authority),
    }
    with otelcol(
        http={"tls": tls, "auth": {"authenticator": "bearertokenauth"}},
        extensions={"bearertokenauth": {"filename": str(token)}},
    ) as running:
        yield running, token


def sender(folder: Path, **environment: str) -> Shipping:
    """Shipping as the agent of *folder* has it, with these variables after OTEL_."""
    return shipping(load(folder=folder, environment={f"OTEL_{name}": value for name, value in environment.items()}))


def ship(folder: Path, job_id: int, to: Shipping) -> ShipResult:
    """One try of one attempt."""
    control = folder / "jobs" / f"{job_id}.1" / "control"
    if not control.exists():
        play(control, job_id=job_id)
    return to.ship(control, build(read_journal(control)))


def arrived(at: OtelCollector, job_id: int) -> tuple[int, int]:
    """How many spans and records of that attempt the collector has."""
    records = [each for each in at.events() if each.uid == uid_of(job_id)]
    traces = {each.trace_id for each in records}
    return sum(1 for each in at.spans() if each.trace_id in traces), len(records)


def everything(certificates: Certificates, at: OtelCollector) -> dict[str, str]:
    """What the collector that is guarded asks for, but for the token."""
    return {
        "EXPORTER_OTLP_ENDPOINT": at.endpoint,
        "EXPORTER_OTLP_CERTIFICATE": str(certificates.authority),
        "EXPORTER_OTLP_CLIENT_CERTIFICATE": str(certificates.certificate),
        "EXPORTER_OTLP_CLIENT_KEY": str(certificates.key),
    }


@pytest.mark.parametrize(("job_id", "compression"), [(1, "gzip"), (2, "deflate"), (3, "none")])
def test_each_packing_is_understood(tmp_path: Path, plain: OtelCollector, job_id: int, compression: str) -> None:
    """OTEL_EXPORTER_OTLP_COMPRESSION: whatever it says, the collector unpacks what we sent, whole and once."""
    to = sender(tmp_path, EXPORTER_OTLP_ENDPOINT=plain.endpoint, EXPORTER_OTLP_COMPRESSION=compression)
    assert ship(tmp_path, job_id, to).http == "accepted"
    spans, records = arrived(plain, job_id)
    assert (spans > 10, records) == (True, 1)


def test_signals_go_their_own_ways(tmp_path: Path, plain: OtelCollector) -> None:
    """The endpoint of one signal is used as it is; one that is off is not sent, and does not hold up the other."""
    traces = f"{plain.endpoint}/v1/traces"
    to = sender(tmp_path, EXPORTER_OTLP_TRACES_ENDPOINT=traces, EXPORTER_OTLP_LOGS_ENDPOINT=f"{plain.endpoint}/no/such")
    assert ship(tmp_path, 11, to).http == "dead"
    to = sender(tmp_path, EXPORTER_OTLP_ENDPOINT=plain.endpoint, TRACES_EXPORTER="none")
    assert ship(tmp_path, 12, to).http == "accepted"
    assert arrived(plain, 11)[1] == 0
    assert arrived(plain, 12) == (0, 1)
    uids = {each.attributes.get("jobspan.job.uid") for each in plain.spans()}
    assert uid_of(11) in uids
    assert uid_of(12) not in uids


def test_what_a_site_says_of_itself_arrives(tmp_path: Path, plain: OtelCollector) -> None:
    """OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME describe every span of the node, and never hide what we know."""
    said = "deployment.environment.name=t%C3%A9st,host.name=forged"
    to = sender(
        tmp_path, EXPORTER_OTLP_ENDPOINT=plain.endpoint, RESOURCE_ATTRIBUTES=said, SERVICE_NAME="jobs of the site"
    )
    assert ship(tmp_path, 21, to).http == "accepted"
    (root,) = [each for each in plain.spans() if each.attributes.get("jobspan.job.uid") == uid_of(21)]
    assert root.resource["deployment.environment.name"] == "tést"
    assert root.resource["service.name"] == "jobs of the site"
    assert root.resource["host.name"] == "node1"


def test_all_that_guards_a_collector(
    tmp_path: Path, guarded: tuple[OtelCollector, Path], certificates: Certificates
) -> None:
    """TLS of an own authority, a client's certificate and an encoded header: with all of them it takes what is sent."""
    collector, _ = guarded
    to = sender(
        tmp_path, **everything(certificates, collector), EXPORTER_OTLP_HEADERS=f"Authorization=Bearer%20{TOKEN}"
    )
    assert ship(tmp_path, 31, to).http == "accepted"
    assert arrived(collector, 31)[1] == 1


@pytest.mark.parametrize(
    ("lacking", "reason"),
    [
        ("EXPORTER_OTLP_CERTIFICATE", "SSLError"),
        ("EXPORTER_OTLP_CLIENT_CERTIFICATE", "no answer from the collector"),
        ("EXPORTER_OTLP_HEADERS", "answered 401"),
    ],
)
def test_what_is_lacking_is_said_and_nothing_is_lost(
    tmp_path: Path, guarded: tuple[OtelCollector, Path], certificates: Certificates, lacking: str, reason: str
) -> None:
    """Without one of them it is refused in words, and waits for somebody to mend it."""
    collector, _ = guarded
    given = {**everything(certificates, collector), "EXPORTER_OTLP_HEADERS": f"Authorization=Bearer%20{TOKEN}"}
    del given[lacking]
    result = ship(tmp_path, 32, sender(tmp_path, **given))
    assert (result.http, arrived(collector, 32)) == ("retry", (0, 0))
    assert reason in result.detail


def test_a_token_that_expired_is_read_anew(
    tmp_path: Path, guarded: tuple[OtelCollector, Path], certificates: Certificates
) -> None:
    """`OTLPTokenFile`: when the collector says 401 and there is a new token in it, that is sent at once."""
    collector, theirs = guarded
    ours = tmp_path / "token"
    ours.write_text(f"{TOKEN}\n")
    (tmp_path / "jobspan.toml").write_text(f'[Telemetry]\nOTLPTokenFile = "{ours}"\n')
    to = sender(tmp_path, **everything(certificates, collector))
    assert ship(tmp_path, 41, to).http == "accepted"
    theirs.write_text("the-next-token")
    waiting = itertools.count(43)  # it takes a moment until the collector has read its own file again
    try:
        eventually(lambda: ship(tmp_path, next(waiting), to).detail == "the collector answered 401", 30)
        ours.write_text("the-next-token\n")
        assert ship(tmp_path, 42, to).http == "accepted"
        assert arrived(collector, 42)[1] == 1
    finally:
        theirs.write_text(TOKEN)


def test_a_collector_without_memory_is_waited_for(tmp_path: Path) -> None:
    """What a collector refuses with 503 because its memory limiter says so arrives when it has room again."""
    with otelcol(memory_mib=1) as collector:
        to = sender(tmp_path, EXPORTER_OTLP_ENDPOINT=collector.endpoint)
        shipper = Shipper(to, build, jobs_folder=tmp_path / "jobs")
        control = tmp_path / "jobs" / "51.1" / "control"
        play(control, job_id=51)
        shipper.start()
        tried = eventually(lambda: last_try(control, OTLP_DELIVERER), 30)
        assert tried.reason == "the collector answered 503"
        collector.terminate()
        collector.memory_mib = 0
        collector.start()
        eventually(lambda: Acknowledgements(control, "otlp-http").settled, PATIENCE_SECONDS)
        assert shipper.stop(10)
        assert arrived(collector, 51)[1] == 1


def test_a_backlog_arrives_over_restarts(tmp_path: Path) -> None:
    """Of sixty attempts that are sent while the collector is told to end, and killed, and started again, every span and
    every record arrives, and copies are copies."""
    for job_id in range(1, 61):
        play(tmp_path / "jobs" / f"{job_id}.1" / "control", job_id=job_id)
    with otelcol() as collector:
        collector.stop()
        shipper = Shipper(
            sender(tmp_path, EXPORTER_OTLP_ENDPOINT=collector.endpoint), build, jobs_folder=tmp_path / "jobs"
        )
        shipper.start()
        for number, end in enumerate((collector.terminate, collector.stop)):
            collector.start()
            eventually(lambda: len({each.uid for each in collector.events()}) > number, PATIENCE_SECONDS)  # noqa: B023
            end()
        collector.start()
        eventually(lambda: not sum(shipper.pending().values()), PATIENCE_SECONDS)
        assert shipper.stop(10)
        events, spans = collector.events(), collector.spans()
    assert {each.uid for each in events} == {uid_of(job_id) for job_id in range(1, 61)}
    assert len({(each.item, str(each.record)) for each in events}) == 60
    by_id = {(each.trace_id, each.span_id): each for each in spans}
    assert len(by_id) == len({str(each) for each in spans}) == 60 * 13


@pytest.mark.parametrize(
    "example", sorted((ROOT / "dashboards" / "collector").glob("*.yml")), ids=lambda path: path.name
)
def test_an_example_for_sites_holds_together(example: Path) -> None:
    """The collector itself says so of each configuration that we offer."""
    require("otelcol")
    command = [str(collector_program()), "validate", "--config", f"file:{example}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
