"""What counters have added up, by a query of a Prometheus server: sums, no attempts."""

from collections.abc import Iterator, Mapping
from typing import Any

import requests

from telemetry import catalogue
from telemetry.reconcile.sources.wanted import SourceError

_TIMEOUT_SECONDS = 30
_MEASURES = {
    "cpu_us": (catalogue.PAYLOAD_CPU.name, 1e6),
    "core_us": (catalogue.WALL_CORE.name, 1e6),
    "jobs": (catalogue.JOBS_FINISHED.name, 1),
}


def sums(
    url: str, *, site_label: str = "", matching: str = "", since: float | None = None, until: float | None = None
) -> Iterator[Mapping[str, Any]]:
    """Totals by site (when a target label *site_label* tells it): what the counters have gained from *since* on.

    Counters start with what their agent has ever counted, so that without *since* they stand for everything.

    Raises:
        SourceError: no answer, or one that is none.
    """
    found: dict[str, dict[str, Any]] = {}
    for column, (metric, unit) in _MEASURES.items():
        query = f"sum {f'by ({site_label}) ' if site_label else ''}({metric}{{{matching}}})"
        for moment, sign in ((until, 1), (since, -1)):
            if sign < 0 and moment is None:
                continue
            for labels, value in _query(url, query, moment):
                site = labels.get(site_label, "") if site_label else ""
                row = found.setdefault(site, {"site": site or None, **dict.fromkeys(_MEASURES, 0)})
                row[column] += sign * round(value * unit)
    yield from found.values()


def _query(url: str, query: str, at: float | None) -> Iterator[tuple[Mapping[str, str], float]]:
    try:
        with requests.Session() as session:
            session.trust_env = False
            answer = session.get(
                f"{url.rstrip('/')}/api/v1/query",
                params={"query": query, **({} if at is None else {"time": repr(at)})},
                timeout=_TIMEOUT_SECONDS,
                allow_redirects=False,
            )
            answer.raise_for_status()
            body = answer.json()
        for each in body["data"]["result"]:
            yield each["metric"], float(each["value"][1])
    except (requests.RequestException, ValueError, KeyError, TypeError) as error:
        raise SourceError(f"Prometheus does not answer {query!r}: {type(error).__name__}") from error
