"""Where spans and accounting events go; used by the agent, by a wrapper that runs without one, and by the WMS."""

from dataclasses import asdict, replace

from runner.compose.users import user_names
from runner.config import Config
from runner.tables import SignalConfig
from telemetry.live.otlp_files import OtlpFiles
from telemetry.live.otlp_http import OtlpHttp, Target
from telemetry.live.shipping import Shipping


def shipping(config: Config) -> Shipping:
    """Spans and accounting events: to files always, to the collector when one is configured."""
    options = config.telemetry
    return Shipping(
        OtlpFiles(config.telemetry_folder),
        collector(config),
        service_name=options.service_name,
        resource=options.resource,
        user_name=user_names(config),
    )


def collector(config: Config) -> OtlpHttp | None:
    """The collector, when one is configured."""
    options = config.telemetry
    if not options.sends:
        return None
    return OtlpHttp(traces=_target(options.traces, config), logs=_target(options.logs, config))


def _target(signal: SignalConfig | None, config: Config) -> Target | None:
    if signal is None:
        return None
    target = Target(**asdict(signal), proxies=config.http.proxies)
    return replace(target, certificate=target.certificate or config.http.ca_bundle)
