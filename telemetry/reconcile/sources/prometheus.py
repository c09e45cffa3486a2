"""What counters have added up, by queries of a Prometheus server: sums, no attempts.

Counters of an agent are durable: one that was off goes on where it ended, perhaps at another port, which makes other
series of it. So every instance is followed by itself. One that comes within the time that is asked about goes on where
another of its host has ended, if it begins with at least what that one had, in every series; else it has counted from
zero, with which an agent of a fresh folder begins.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import requests

from telemetry import catalogue
from telemetry.clock import NANOSECONDS, SystemClock
from telemetry.reconcile.sources.wanted import SourceError

#: As long as Prometheus gives a query by itself.
_TIMEOUT_SECONDS = 120
_MEASURES = {
    "cpu_us": (catalogue.PAYLOAD_CPU, 1e6),
    "core_us": (catalogue.WALL_CORE, 1e6),
    "jobs": (catalogue.JOBS_FINISHED, 1),
}
#: So long before the time that is asked about an instance may have ended that goes on within.
_BEFORE = "7d"
_PORT = re.compile(r":\d+$")

#: The labels of one target; a column with the labels of one counter.
_Target: TypeAlias = frozenset[tuple[str, str]]
_Series: TypeAlias = tuple[str, frozenset[tuple[str, str]]]
_Values: TypeAlias = dict[_Series, float]


@dataclass(frozen=True)
class _Counted:
    """What one instance had counted."""

    #: When the time that is asked about began, or it ended before that.
    before: _Values = field(default_factory=dict)
    #: At its own begin and end within that time.
    first: _Values = field(default_factory=dict)
    last: _Values = field(default_factory=dict)
    #: At the end of that time; nothing if it was gone by then.
    there: _Values = field(default_factory=dict)


def sums(
    url: str, *, site_label: str = "", matching: str = "", since: float | None = None, until: float | None = None
) -> tuple[list[Mapping[str, Any]], list[str]]:
    """Totals by site (when a target label *site_label* tells it): what the counters have gained from *since* on; and
    sentences about those of which it is not known.

    Counters start with what their agent has ever counted, so that without *since* those of the agents that are there at
    the end stand for everything.

    Raises:
        SourceError: no answer, or one that is none.
    """
    end = SystemClock().utc_ns() / NANOSECONDS if until is None else until
    counted = _counted(url, matching, since, end)
    gains = ((target, each.there) for target, each in counted.items()) if since is None else _gains(counted)
    found: dict[str, dict[str, Any]] = {}
    for target, gained in gains:
        site = dict(target).get(site_label, "") if site_label else ""
        row = found.setdefault(site, {"site": site or None, **dict.fromkeys(_MEASURES, 0)})
        for (column, _), value in gained.items():
            row[column] += round(value * _MEASURES[column][1])
    fallen = sorted(dict(target).get("instance", "") for target, each in counted.items() if _has_fallen(each))
    return list(found.values()), [f"counters of {each} have fallen: what they gained is not known" for each in fallen]


def _counted(url: str, matching: str, since: float | None, end: float) -> dict[_Target, _Counted]:
    """Every instance of which there is a sample. Counters never fall, so that their least value is the first one."""
    asked = [("there", "{}", end)]
    if since is not None:
        span = f"{max(1, round((end - since) * 1000))}ms"
        asked += [
            ("first", f"min_over_time({{}}[{span}])", end),
            ("last", f"max_over_time({{}}[{span}])", end),
            ("before", f"max_over_time({{}}[{_BEFORE}])", since),
        ]
    counted: dict[_Target, _Counted] = {}
    for column, (metric, _) in _MEASURES.items():
        for name, query, moment in asked:
            for labels, value in _query(url, query.format(f"{metric.name}{{{matching}}}"), moment):
                own = frozenset((each, labels.get(each, "")) for each in metric.labels)
                target = frozenset(each for each in labels.items() if each[0] not in ("__name__", *metric.labels))
                getattr(counted.setdefault(target, _Counted()), name)[column, own] = value
    return counted


def _gains(counted: Mapping[_Target, _Counted]) -> Iterator[tuple[_Target, _Values]]:
    """What each instance has gained, by series."""
    known = {target: each for target, each in counted.items() if each.before}
    ended = {target: each.before | each.last for target, each in known.items() if not each.there}
    for target, each in known.items():
        yield target, _minus(each.last, each.before)
    came = [(target, each) for target, each in counted.items() if not each.before]
    for target, each in sorted(came, key=lambda item: sum(item[1].first.values())):
        yield target, _minus(each.last, _taken_over(target, each.first, ended))
        if not each.there:
            ended[target] = each.last


def _taken_over(target: _Target, first: _Values, ended: dict[_Target, _Values]) -> _Values:
    """What the instance had counted elsewhere that begins with *first*; no other takes over the same."""
    host = _host(target)
    fits = {
        other: values
        for other, values in ended.items()
        if _host(other) == host and all(first.get(series, 0) >= value for series, value in values.items())
    }
    nearest = max(fits, key=lambda other: sum(fits[other].values()), default=None)
    return {} if nearest is None else ended.pop(nearest)


def _host(target: _Target) -> _Target:
    """Its labels without the port, at which an agent may be found today, and not tomorrow."""
    return frozenset((name, _PORT.sub("", value) if name == "instance" else value) for name, value in target)


def _minus(values: _Values, base: _Values) -> _Values:
    return {series: max(value - base.get(series, 0.0), 0.0) for series, value in values.items()}


def _has_fallen(each: _Counted) -> bool:
    return any(each.first.get(series, value) < value for series, value in each.before.items())


def _query(url: str, query: str, at: float) -> Iterator[tuple[Mapping[str, str], float]]:
    try:
        with requests.Session() as session:
            session.trust_env = False
            answer = session.get(
                f"{url.rstrip('/')}/api/v1/query",
                params={"query": query, "time": repr(at)},
                timeout=_TIMEOUT_SECONDS,
                allow_redirects=False,
            )
            answer.raise_for_status()
            body = answer.json()
        for each in body["data"]["result"]:
            yield each["metric"], float(each["value"][1])
    except (requests.RequestException, ValueError, KeyError, TypeError) as error:
        raise SourceError(f"Prometheus does not answer {query!r}: {type(error).__name__}") from error
