"""PromQL in the few shapes that panels and rules have, over metrics of the catalogue. Pure."""

from telemetry.catalogue import Metric

#: Grafana fills these in: a window that holds at least four scrapes, and the time that is shown.
WINDOW, RANGE = "$__rate_interval", "$__range"
#: What the variables of a dashboard leave of the agents.
NODE = 'site=~"$site", instance=~"$node"'


def series(metric: Metric, *matchers: str, part: str = "") -> str:
    """The series of *metric* that pass *matchers*; of a histogram a *part*: bucket, count or sum."""
    name = f"{metric.name}_{part}" if part else metric.name
    return f"{name}{{{', '.join(matchers)}}}" if matchers else name


def total(expression: str, *by: str) -> str:
    """The sum of *expression* by labels."""
    return f"sum by ({', '.join(by)}) ({expression})" if by else f"sum({expression})"


def across(expression: str, *gone: str) -> str:
    """The sum over the labels that are *gone*; whatever else a site puts on its targets stays."""
    return f"sum without ({', '.join(gone)}) ({expression})"


def rate(selected: str, window: str = WINDOW) -> str:
    """Growth of counters a second."""
    return f"rate({selected}[{window}])"


def increase(selected: str, window: str = RANGE) -> str:
    """Growth of counters in *window*."""
    return f"increase({selected}[{window}])"


def quantile(rank: float, buckets: str, *by: str, window: str = WINDOW) -> str:
    """A quantile of a histogram by labels."""
    return f"histogram_quantile({rank}, {total(rate(buckets, window), 'le', *by)})"
