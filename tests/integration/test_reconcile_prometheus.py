"""What a real Prometheus has of agents that come, go and move is what these have counted."""

import subprocess
from collections.abc import Iterator, Mapping

import pytest

from telemetry.reconcile.sources import prometheus as source
from tests.support.components import require
from tests.support.prometheus import configuration, prometheus

pytestmark = pytest.mark.prometheus
#: 2026-11-01 UTC; what is asked about are the two hours from one hour later on.
BEGIN = 1_793_491_200
SINCE, UNTIL = BEGIN + 3600, BEGIN + 3 * 3600
MINUTES = 240

#: Jobs that an instance has counted by the minute from which on it has, until None.
Counts = Mapping[int, int | None]
#: What happens at each site, and what its agents have gained within the two hours.
SITES: Mapping[str, tuple[Mapping[str, Counts], int]] = {
    "steady": ({"a:1": {0: 1000, 90: 1010, 150: 1024, 200: 1100}}, 24),
    "off": ({"a:1": {0: 1000, 90: 1012, 120: None}}, 12),
    "new": ({"a:1": {100: 0, 150: 7}}, 7),
    "one after the other": (
        {"a:1": {70: 0, 80: 1, 90: None}, "a:2": {95: 0, 100: 1, 110: None}, "a:3": {112: 0, 130: 1}},
        3,
    ),
    "side by side": ({"a:1": {0: 100, 150: 102}, "a:2": {0: 1000, 90: 1003, 120: None}, "a:3": {70: 0, 150: 200}}, 205),
    "moved": ({"a:1": {0: 1000, 90: 1005, 120: None}, "a:2": {121: 1006, 150: 1024}}, 24),
    "moved and off": (
        {"a:1": {0: 1000, 90: None}, "a:2": {91: 1000, 100: 1003, 120: None}, "a:3": {121: 1003, 150: 1004, 160: None}},
        4,
    ),
    "new and moved": ({"a:1": {70: 0, 90: 5, 100: None}, "a:2": {101: 5, 150: 6}}, 6),
    "back": ({"a:1": {0: 500, 30: None, 100: 500, 150: 503}}, 3),
    "back elsewhere": ({"a:1": {0: 500, 30: None}, "a:2": {100: 500, 150: 503}}, 3),
    "gone before": ({"a:1": {0: 500, 30: None}}, 0),
    "two on a host": (
        {"a:1": {0: 100, 70: 103, 90: None}, "a:2": {0: 1000, 70: 1002, 90: None}, "a:3": {92: 1002, 150: 1006}},
        9,
    ),
    "another host": ({"a:1": {0: 100, 90: None}, "b:2": {100: 102}}, 102),
}


#: One whose folder was emptied, so that it has begun anew at the same port.
FALLEN: Mapping[str, Counts] = {"a:1": {0: 1000, 70: 1004, 90: 3}}


def samples() -> Iterator[str]:
    """All of it, as a client of Prometheus writes it."""
    for metric, per_job in (
        ("jobspan_jobs_finished_total", 1),
        ("jobspan_payload_cpu_seconds_total", 10),
        ("jobspan_wall_core_seconds_total", 40),
    ):
        yield f"# TYPE {metric.removesuffix('_total')} counter\n"
        for site, instances in [*((site, instances) for site, (instances, _) in SITES.items()), ("fallen", FALLEN)]:
            for instance, counts in instances.items():
                labels = f'instance="{instance}",site="{site}"'
                labels += {1: ',status="Done",error_type=""', 10: ',mode="user"'}.get(per_job, "")
                value: int | None = None
                for minute in range(MINUTES):
                    value = counts.get(minute, value)
                    if value is not None:
                        yield f"{metric}{{{labels}}} {value * per_job} {BEGIN + minute * 60}\n"
    yield "# EOF\n"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that has scraped all that."""
    require("prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "samples.txt").write_text("".join(samples()))
    command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", "samples.txt", "data"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=60)
    with prometheus(folder, configuration(), "--storage.tsdb.retention.time=1000d") as server:
        yield server.url


def test_a_gain_is_that_of_all_who_were_there(url: str) -> None:
    """Whoever was switched off counts with what it had gained until then, and so does whoever came; one that goes on at
    another port counts once, and one that was away does not count what it had before."""
    found, problems = source.sums(url, site_label="site", matching='site!="fallen"', since=SINCE, until=UNTIL)
    assert problems == []
    assert {each["site"]: each["jobs"] for each in found} == {site: gain for site, (_, gain) in SITES.items()}
    assert all(each["core_us"] == 4 * each["cpu_us"] == each["jobs"] * 40_000_000 for each in found)


def test_counters_that_have_fallen_are_told(url: str) -> None:
    """No gain is negative, and where it is not known somebody must say so."""
    found, problems = source.sums(url, matching='site="fallen"', since=SINCE, until=UNTIL)
    assert problems == ["counters of a:1 have fallen: what they gained is not known"]
    assert found[0]["jobs"] >= 0


def test_without_a_begin_counters_stand_for_everything(url: str) -> None:
    """Those of whoever is there at the end, with all that was ever counted."""
    found, _ = source.sums(url, site_label="site", matching='site=~"steady|off|moved|two.*"', until=UNTIL)
    assert {each["site"]: each["jobs"] for each in found} == {"steady": 1024, "moved": 1024, "two on a host": 1006}
