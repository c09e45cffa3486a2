"""What payloads have sent arrives at a real OpenTelemetry Collector, with the site's own token."""

from pathlib import Path

from runner.compose.shipping import payload_shipping
from runner.config import load
from telemetry.live.lines import complete_lines
from telemetry.live.otlp_files import LOGS
from telemetry.live.payload_shipping import PayloadShipper
from telemetry.live.payload_spool import HTTP_SINK, owes
from tests.support.attempts import play
from tests.support.otelcol import OtelCollector, otelcol
from tests.support.payload_door import doorway, logs, span
from tests.support.waiting import eventually

TOKEN = "collectors-own-token"
#: More than one request to the collector: some 9 KiB each in protobuf.
SPANS = 200


def test_all_of_a_payload_arrives_at_a_collector_that_was_killed(tmp_path: Path) -> None:
    """Every span and log record, each once when copies are folded by id, though the collector was away at first and
    then killed, and takes nothing without the site's token."""
    token = tmp_path / "token"
    token.write_text(TOKEN)
    with otelcol(
        http={"auth": {"authenticator": "bearertokenauth"}},
        extensions={"bearertokenauth": {"filename": str(token)}},
    ) as collector:
        collector.stop()
        with doorway(tmp_path, total_bytes=8 << 20) as way:
            for number in range(0, SPANS, 50):
                many = [span(each, name=f"{each} {'x' * 9000}") for each in range(number, number + 50)]
                assert way.send(*many).json == {}
                assert way.post("/v1/logs", logs({"body": {"stringValue": f"log {number}"}})).json == {}
            play(way.control)
            environment = {
                "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
                "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{TOKEN}",
            }
            shipper = PayloadShipper(
                payload_shipping(load(folder=tmp_path, environment=environment)), tmp_path / "jobs"
            )
            shipper.start()
            try:
                eventually(lambda: shipper.pending()[HTTP_SINK], 20, "the first try")
                collector.start()
                eventually(collector.spans, 60, "the first spans")
                collector.stop()
                collector.start()
                eventually(lambda: not owes(way.control, HTTP_SINK), 60, "all of it")
            finally:
                assert shipper.stop(10.0)
        arrived = {each.span_id for each in collector.spans()}
        assert arrived == {span(each)["spanId"] for each in range(SPANS)}
        assert bodies(collector) == {f"log {number}" for number in range(0, SPANS, 50)}


def bodies(collector: OtelCollector) -> set[str]:
    """The texts of the log records."""
    lines = [line.decode() for _, line in complete_lines(collector.folder / LOGS)]
    return {text for number in range(0, SPANS, 50) for line in lines if (text := f"log {number}") in line}
