"""How fast a backlog of ended attempts reaches a real OpenTelemetry Collector, and what restarts of it lose.

    python tests/bench/run.py --only shipping [--quick]

All is as an agent has left it after a night without a collector: journals, the node's files, what it has tried to send.
A new one takes that from the disk to the collector's own files, and notes each acknowledgement. A record is what OTLP
calls one: a span or a log record. Attempts that have just ended are rendered and written to the node's files first, and
have a row of their own. Beside it the SDK's exporter with its batch processor, which is given spans that are rendered
already and keeps nothing on a disk.
"""

import logging
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from telemetry.journal import read_journal
from telemetry.ledger.builder import build
from telemetry.live.otlp_files import OtlpFiles
from telemetry.live.otlp_http import OtlpHttp
from telemetry.live.shipper import Shipper
from telemetry.live.shipping import HTTP_SINK, Shipping
from telemetry.live.spans import Rendered, render
from tests.bench.table import Row
from tests.support.attempts import play
from tests.support.components import collector_program
from tests.support.http_faults import nobody
from tests.support.otelcol import OtelCollector, otelcol
from tests.support.waiting import eventually

ATTEMPTS, RESTARTS, ROUNDS = 1000, 10, 3
LEAST_RECORDS_A_SECOND = 10_000
DEADLINE_SECONDS = 300.0


@dataclass(frozen=True)
class Run:
    """What a backlog came to."""

    seconds: float
    cpu_seconds: float
    sent: int
    lost: int
    copies: int

    @property
    def rate(self) -> float:
        """Records a second."""
        return (self.sent - self.lost) / self.seconds

    def words(self, of: str) -> str:
        """What of it stands in a row."""
        cpu_micros = self.cpu_seconds / self.sent * 1e6
        return f"{self.rate:,.0f} {of}/s, {self.lost} lost; our CPU {cpu_micros:.0f} us each"


def rows(quick: bool) -> Iterator[Row]:
    """The rates, then the restarts."""
    if collector_program() is None:
        yield Row(what="shipping to a collector", ours="not measured: `make servers` builds one")
        return
    attempts, rounds = (100, 1) if quick else (ATTEMPTS, ROUNDS)
    # The SDK tells of each try that fails while the collector is away; the table says what came of them.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="jobspan-bench-") as name:
        backlog = Path(name) / "backlog"
        _make(backlog, attempts)
        fresh = _ours(backlog, attempts, is_fresh=True)
        yield Row(
            what=f"{attempts} attempts that have just ended, rendered and written to the node's files on the way",
            ours=fresh.words("records"),
        )
        pairs = [(_ours(backlog, attempts), _sdk(backlog)) for _ in range(rounds)]
        ours, sdk = (sorted(each, key=lambda run: run.rate)[rounds // 2] for each in zip(*pairs, strict=True))
        yield Row(
            what=f"shipping a backlog of {attempts} attempts ({ours.sent} records) to a real collector",
            ours=ours.words("records"),
            against=f"the SDK's exporter, of spans rendered before: {sdk.words('spans')}",
            ratio=f"{ours.rate / sdk.rate:.2f}",
            aim=f"at least {LEAST_RECORDS_A_SECOND:,} records/s",
            reached=ours.rate >= LEAST_RECORDS_A_SECOND and not ours.lost,
        )
        restarts = 2 if quick else RESTARTS
        ours, sdk = _ours(backlog, attempts, restarts), _sdk(backlog, restarts)
        yield Row(
            what=f"the same over {restarts} restarts of the collector, by TERM and by KILL in turn",
            ours=f"{ours.lost} of {ours.sent} lost, {ours.copies} copies (folded by id), {ours.seconds:.1f} s",
            against=f"the SDK's: {sdk.lost} of {sdk.sent} spans lost, {sdk.copies} copies, {sdk.seconds:.1f} s",
            aim="0 lost",
            reached=ours.lost == 0,
        )


def _make(folder: Path, attempts: int) -> None:
    """Journals of attempts that have ended."""
    for job_id in range(1, attempts + 1):
        play(folder / "jobs" / f"{job_id}.1" / "control", job_id=job_id)


def _without_collector(backlog: Path, attempts: int) -> None:
    """An agent writes all to its files, and finds nobody to send it to."""
    shipper = _shipper(backlog, OtlpHttp.at(nobody()), attempts)
    shipper.start()
    assert shipper.stop(DEADLINE_SECONDS)


def _shipper(backlog: Path, http: OtlpHttp, attempts: int) -> Shipper:
    shipper = Shipper(Shipping(OtlpFiles(backlog / "telemetry"), http), build, queue_limit=attempts)
    for control in _controls(backlog):
        shipper.submit(control)
    return shipper


def _controls(backlog: Path) -> list[Path]:
    return sorted(backlog.glob("jobs/*/control"))


def _ours(backlog: Path, attempts: int, restarts: int = 0, *, is_fresh: bool = False) -> Run:
    """As an agent ships it; of *is_fresh* attempts nothing is done before."""
    for noted in backlog.glob(f"jobs/*/control/{HTTP_SINK}.*"):
        noted.unlink()
    if not is_fresh:
        _without_collector(backlog, attempts)
    with otelcol() as collector:
        http = OtlpHttp.at(collector.endpoint)
        shipper = _shipper(backlog, http, attempts)
        begun, cpu = time.monotonic(), time.process_time()
        shipper.start()
        _restart(collector, restarts, lambda: 1 - shipper.pending()[HTTP_SINK] / attempts)
        eventually(lambda: not shipper.pending()[HTTP_SINK], DEADLINE_SECONDS, "the backlog at the collector")
        seconds, cpu = time.monotonic() - begun, time.process_time() - cpu
        shipper.stop(10)
        http.close()
        spans = {(each.trace_id, each.span_id) for each in collector.spans()}
        records = {each.item for each in collector.events()}
        arrived = len(collector.spans()) + len(collector.events())
    owed = sum(len(_rendered(control).spans) + 1 for control in _controls(backlog))
    found = len(spans) + len(records)
    return Run(seconds, cpu, owed, owed - found, arrived - found)


def _sdk(backlog: Path, restarts: int = 0) -> Run:
    """The same spans by the SDK, batch by batch as fast as it takes them."""
    spans = [span for control in _controls(backlog) for span in _rendered(control).spans]
    with otelcol() as collector:
        exporter = OTLPSpanExporter(endpoint=f"{collector.endpoint}/v1/traces")
        processor = BatchSpanProcessor(exporter)
        begun, cpu = time.monotonic(), time.process_time()
        left = deque(spans)
        sender = threading.Thread(target=_feed, args=(processor, left), daemon=True)
        sender.start()
        _restart(collector, restarts, lambda: 1 - len(left) / len(spans))
        sender.join(DEADLINE_SECONDS)
        processor.shutdown()
        seconds, cpu = time.monotonic() - begun, time.process_time() - cpu
        found = {(each.trace_id, each.span_id) for each in collector.spans()}
        arrived = len(collector.spans())
    return Run(seconds, cpu, len(spans), len(spans) - len(found), arrived - len(found))


def _feed(processor: BatchSpanProcessor, left: deque[ReadableSpan]) -> None:
    """Never more than its queue holds."""
    while left:
        for _ in range(min(512, len(left))):
            processor.on_end(left.popleft())
        processor.force_flush()


def _restart(collector: OtelCollector, times: int, share: Callable[[], float]) -> None:
    """Restart it so often while *share* of the backlog arrives, by TERM and by KILL in turn."""
    for number in range(times):
        eventually(lambda: share() >= (number + 0.5) / times, DEADLINE_SECONDS, f"restart {number}")  # noqa: B023
        (collector.stop if number % 2 else collector.terminate)()
        collector.start()


def _rendered(control: Path) -> Rendered:
    entries = read_journal(control)
    return render(entries, build(entries))
