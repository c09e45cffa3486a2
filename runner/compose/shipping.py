"""Where spans and accounting events go; used by the agent, by a wrapper that runs without one, and by the WMS."""

from runner.config import Config
from telemetry.live.otlp_files import OtlpFiles
from telemetry.live.otlp_http import OtlpHttp
from telemetry.live.payload_shipping import PayloadShipping
from telemetry.live.shipping import Shipping


def shipping(config: Config) -> Shipping:
    """Spans and accounting events: to files always, to the collector when one is configured."""
    return Shipping(OtlpFiles(config.telemetry_folder), collector(config), service_name=config.telemetry.service_name)


def payload_shipping(config: Config) -> PayloadShipping:
    """What payloads have sent goes the same ways."""
    return PayloadShipping(OtlpFiles(config.telemetry_folder), collector(config))


def collector(config: Config) -> OtlpHttp | None:
    """The collector, when one is configured."""
    options = config.telemetry
    if not options.otlp_endpoint:
        return None
    return OtlpHttp(
        options.otlp_endpoint,
        headers=options.otlp_headers,
        certificate=options.otlp_certificate or config.http.ca_bundle,
        proxies=config.http.proxies,
        timeout_seconds=options.otlp_timeout_seconds,
    )
