"""What watches the WMS itself: its metrics and their endpoint, the spans of its calls, its word to systemd."""

import logging
import socket
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import runner
from runner.compose.clients import WMS_METRICS_URL_FILE
from runner.compose.notify import STOPPING, notify
from runner.compose.shipping import collector
from runner.config import Config
from runner.errors import ConfigError
from runner.server.observer import Call
from runner.server.observing import route_of
from runner.server.services.inventory import Inventory
from telemetry import catalogue as names
from telemetry.live.call_shipper import CallShipper, SpanFile
from telemetry.live.call_spans import CallSpan, WmsIdentity
from telemetry.live.exposition import ExposureRefused, MetricsServer
from telemetry.live.wms_metrics import WmsMetrics
from telemetry.live.wms_state import ProcessState

_log = logging.getLogger("jobspan.wms")
SPAN_FILE = "wms-traces.jsonl"
#: A collector that hangs when the WMS is told to stop has so long.
STOP_SECONDS = 5.0
#: Probes of load balancers are no news.
_PROBES = frozenset({"/healthz", "/readyz"})


class WmsTelemetry:
    """An observer of the server (`runner.server.serve.ServerObserver`)."""

    def __init__(self, config: Config) -> None:
        """Nothing is opened yet."""
        self._config = config
        self._metrics = WmsMetrics(version=runner.__version__, process=self._process)
        self._server: MetricsServer | None = None
        self._url_file = config.folder / WMS_METRICS_URL_FILE
        self._shipper: CallShipper | None = None
        self._mutex = threading.Lock()
        self._open: dict[int, Mapping[str, Any]] = {}

    @property
    def url(self) -> str:
        """Where /metrics is; empty while nobody watches."""
        return self._server.url if self._server else ""

    @contextmanager
    def watching(self, inventory: Inventory) -> Iterator[None]:
        """Count what *inventory* sees, serve the metrics, ship spans, until the block ends.

        Raises:
            ConfigError: the address of the metrics cannot be had, or beyond loopback without a token file.
        """
        self._server = server = _metrics_server(self._config, self._metrics)
        self._metrics.watch(inventory.look)
        self._shipper = self._new_shipper(inventory.wms_id)
        server.start()
        if self._shipper is not None:
            self._shipper.start()
        self._url_file.write_text(server.url + "\n")
        try:
            yield
        finally:
            self._url_file.unlink(missing_ok=True)
            server.close()
            self._metrics.watch(None)
            if self._shipper is not None:
                self._shipper.stop(STOP_SECONDS)

    # --- what the server tells --------------------------------------------------------------------

    def begun(self, scope: Mapping[str, Any]) -> None:
        """A call is under way."""
        with self._mutex:
            self._open[id(scope)] = scope

    def ended(self, scope: Mapping[str, Any], call: Call) -> None:
        """It is over: counted before it is no longer under way, so that no scrape misses it."""
        self._metrics.request(call.method, call.route, call.status_code, call.duration_ns / 1e9)
        if call.told.match is not None:
            self._metrics.match(found=bool(call.told.match))
        if call.told.heartbeats:
            self._metrics.heartbeats(call.told.heartbeats)
        if self._shipper is not None and call.ids.is_sampled and call.route not in _PROBES:
            self._shipper.offer(_span(call))
        with self._mutex:
            self._open.pop(id(scope), None)

    def transaction(self, kind: str, waited_seconds: float, held_seconds: float) -> None:
        """A transaction is over."""
        self._metrics.transaction(kind, waited_seconds, held_seconds)

    def copies(self, kind: str, count: int) -> None:
        """Of what the WMS had already, so many copies have come."""
        if count:
            self._metrics.copies(kind, count)

    def stopping(self) -> None:
        """The server lets calls end, and takes no new ones."""
        notify(self._config.environment, STOPPING)
        with self._mutex:
            under_way = len(self._open)
        _log.info("was told to stop, with %d calls under way", under_way)

    def _process(self) -> ProcessState:
        with self._mutex:
            scopes = list(self._open.values())
        shipper = self._shipper
        return ProcessState(
            in_progress=Counter(route_of(scope) for scope in scopes),
            spans_queued=shipper.queued if shipper else 0,
            spans_dropped=shipper.dropped if shipper else {},
        )

    def _new_shipper(self, wms_id: str) -> CallShipper | None:
        wms, options = self._config.wms, self._config.telemetry
        http = collector(self._config)
        if not wms.trace_rate or (not wms.trace_file_bytes and http is None):
            return None
        # the default names the runner; only what a site has chosen itself is taken for the WMS as well
        chosen = options.service_name != names.SERVICE_NAME
        path = self._config.telemetry_folder / SPAN_FILE
        return CallShipper(
            WmsIdentity(
                wms_id=wms_id,
                version=runner.__version__,
                host_name=socket.gethostname(),
                service_name=options.service_name if chosen else names.WMS_SERVICE_NAME,
                resource=options.resource,
            ),
            file=SpanFile(path, wms.trace_file_bytes) if wms.trace_file_bytes else None,
            http=http,
            rate=wms.trace_rate,
        )


def _span(call: Call) -> CallSpan:
    return CallSpan(
        trace_id=call.ids.trace_id,
        span_id=call.ids.span_id,
        parent_span_id=call.ids.parent_span_id,
        method=call.method,
        route=call.route,
        status_code=call.status_code,
        start_ns=call.start_utc_ns,
        end_ns=call.start_utc_ns + call.duration_ns,
        call_id=call.ids.request_id,
        matched_uid=call.told.match or "",
        submissions=call.told.submissions,
    )


def _metrics_server(config: Config, metrics: WmsMetrics) -> MetricsServer:
    options = config.wms
    try:
        token = Path(options.metrics_token_file).read_text().strip() if options.metrics_token_file else ""
        return MetricsServer(metrics, host=options.metrics_host, port=options.metrics_port, token=token)
    except ExposureRefused as error:
        raise ConfigError(f"[WMS] MetricsHost: {error}") from error
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"[WMS] MetricsHost, MetricsPort, MetricsTokenFile: cannot serve metrics on {options.metrics_host} "
            f"port {options.metrics_port}: {error}"
        ) from error
