"""A whole site as its people see it: the examples for Prometheus and Alertmanager run, jobs of all kinds run, and every
panel of every dashboard shows something; an alert reaches who should know of it."""

import contextlib
import math
import os
import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from dashboards.check import filled, queried_panels
from dashboards.generate import DASHBOARDS, FOLDER, RULES_PATH
from runner import cli
from runner.compose.clients import URL_FILE
from telemetry.facts import PayloadStarted, WrapperStarted
from tests.support.prometheus import Prometheus, prometheus
from tests.support.site import PATIENCE_SECONDS, Site, running_site, site_config
from tests.support.waiting import eventually
from tests.support.watchers import Alertmanager, NodeExporter, Receiver, receiver

DEADLINE_SECONDS = 60.0
#: A second of CPU, and output on both streams.
WORKS = "-c 'i=0; while [ $i -lt 150000 ]; do i=$((i+1)); done; echo good; echo words >&2'"
LIVES = "-c 'echo I live; sleep 600'"


@dataclass
class Seen:
    """A site at which everything has happened, and those who watch it."""

    site: Site
    prometheus: Prometheus
    hook: Receiver
    began: float


def example(name: str) -> Any:
    """An example for sites."""
    return yaml.safe_load((FOLDER / "prometheus" / name).read_text())


def alertmanager_config(hook: str) -> Any:
    """The example, with receivers of ours, and in more of a hurry."""
    config = example("alertmanager.yml")
    config["route"] |= {"group_wait": "1s", "group_interval": "1s"}
    for each in config["receivers"]:
        each["webhook_configs"] = [{"url": f"{hook}/{each['name']}"}]
    return config


def prometheus_config(folder: Path, site: Site, alertmanager: int, exporter: int) -> Any:
    """The example, with tokens of *site* and ports of ours, and in more of a hurry; its rules lie beside it."""
    folder.mkdir()
    shutil.copy(RULES_PATH, folder)
    config = example("prometheus.yml")
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{alertmanager}"]
    jobs: dict[str, Any] = {each["job_name"]: each for each in config["scrape_configs"]}
    url = (site.config.folder / "wms-metrics.url").read_text().strip()
    jobs["jobspan-wms"]["static_configs"][0]["targets"] = [urlsplit(url).netloc]
    jobs["jobspan-reconciliation"]["static_configs"][0]["targets"] = [f"127.0.0.1:{exporter}"]
    (discovery,) = jobs["jobspan-nodes"]["http_sd_configs"]
    discovery |= {"url": f"{(site.config.folder / URL_FILE).read_text().strip()}/sd", "refresh_interval": "1s"}
    discovery["authorization"]["credentials_file"] = str(site.config.tokens_folder / "monitor.token")
    for name in ("jobspan-wms", "jobspan-nodes"):
        jobs[name]["authorization"]["credentials_file"] = str(site.config.folder / "metrics.token")
    return config


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    """Jobs end well, fail, are killed by their user or a limit, lose their wrapper, wait; and Prometheus looks on."""
    folder = tmp_path_factory.mktemp("seen")
    token = folder / "site" / "metrics.token"
    token.parent.mkdir()
    token.write_text("scraper's secret")
    tables: dict[str, dict[str, Any]] = {name: {"MetricsTokenFile": str(token)} for name in ("JobAgent", "WMS")}
    tables["WMS"] |= {"Timeout": 2.0}  # a wrapper whose WMS is gone gives up after three of them
    with ExitStack() as stack:
        site = stack.enter_context(running_site(folder / "site", slots=4, **tables))
        hook = stack.enter_context(receiver())
        manager = stack.enter_context(closing(Alertmanager(alertmanager_config(hook.url))))
        exporter = stack.enter_context(closing(NodeExporter()))
        config = prometheus_config(folder / "prometheus", site, manager.port, exporter.port)
        began = time.time()
        server = stack.enter_context(prometheus(folder / "prometheus", config))
        everything_happens(site, server)
        reconcile(site, exporter.folder / "jobspan.prom")
        server.wait("jobspan_reconciliation_timestamp_seconds")
        yield Seen(site, server, hook, began)


def everything_happens(site: Site, server: Prometheus) -> None:
    """Jobs of all kinds, one after the other as far as Prometheus has to see what was there before."""
    good = site.submit(Executable="/bin/sh", Arguments=WORKS)
    site.submit(Executable="/bin/true", Site="LCG.Elsewhere.org")  # and so it waits
    site.wait(good, "Done")
    server.wait('jobspan_jobs_finished_total{status="Done"} == 1')
    killed, lost = (site.submit(Executable="/bin/sh", Arguments=LIVES) for _ in range(2))
    limited = site.submit(Executable="/bin/sleep", Arguments="600", DisableCPUCheck=True, MaxWallClockTime=2)
    failed = site.submit(Executable="/bin/sh", Arguments="-c 'exit 3'")
    for job_id in (killed, lost):
        server.wait(f'jobspan_job_last_output_timestamp_seconds{{job_id="{job_id}"}}')
    site.kill(killed)
    os.kill(site.wait_fact(lost, WrapperStarted).fact.pid, signal.SIGKILL)  # type: ignore[attr-defined]
    for job_id in (failed, limited, lost):
        site.wait(job_id, "Failed")
    again = site.submit(Executable="/bin/sh", Arguments=WORKS)
    site.wait(again, "Done")
    site.wait_record(killed)
    server.wait("sum(jobspan_jobs_finished_total) == 6")


def reconcile(site: Site, metrics: Path) -> None:
    """Hold the WMS's accounting against the telemetry, as a timer does, more patiently than a wrapper; they agree."""
    folder = site.config.folder
    patient = site_config(metrics.parent / "patient", WMS={"Timeout": PATIENCE_SECONDS}).folder / "jobspan.toml"
    sources = ["--source", "wms=wms", "--source", f"otlp=otlp:{site.config.telemetry_folder / 'logs.jsonl'}"]
    settings = ["--config", str(patient), "--folder", str(folder)]
    assert cli.main([*settings, "reconcile", *sources, "--metrics", str(metrics)]) == 0


def values(server: Prometheus, target: Mapping[str, Any], began: float) -> list[float]:
    """All numbers that a panel's query has shown since *began*, not counting the zero for "none"."""
    now = time.time()
    expression = filled(target["expr"], window="10s", range_=f"{math.ceil(now - began)}s").removesuffix(" or vector(0)")
    if target["instant"]:
        return [value for _, value in server.query(expression) if math.isfinite(value)]
    found = server.ask("query_range", query=expression, start=began, end=now, step="1s")["result"]
    return [value for each in found for _, text in each["values"] if math.isfinite(value := float(text))]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_every_panel_shows_something(seen: Seen, path: Path) -> None:
    """No query of the dashboard is empty or only "not a number" after a real run."""
    targets = [(panel["title"], target) for panel in queried_panels(DASHBOARDS[path]()) for target in panel["targets"]]
    assert targets
    empty = list(targets)

    def is_shown() -> bool:
        empty[:] = [each for each in empty if not values(seen.prometheus, each[1], seen.began)]
        return not empty

    with contextlib.suppress(AssertionError):  # what is said of it below is more
        eventually(is_shown, DEADLINE_SECONDS)
    assert [f"{title}: {target['expr']}" for title, target in empty] == []


def test_a_lost_job_reaches_who_should_know(seen: Seen) -> None:
    """The alert of a killed wrapper goes by Prometheus and Alertmanager to the receiver of tickets, with its words."""

    def told() -> list[dict[str, Any]]:
        return [each for each in seen.hook.alerts("/tickets") if each["labels"]["alertname"] == "JobspanJobsLost"]

    alert = eventually(told, DEADLINE_SECONDS, "the alert at its receiver")[0]
    assert alert["status"] == "firing"
    assert (alert["labels"]["error_type"], alert["labels"]["severity"]) == ("wrapper_died", "ticket")
    assert alert["annotations"]["summary"].endswith("lost jobs: wrapper_died")
    assert "jobspan trace" in alert["annotations"]["description"]


def test_all_rules_are_well(seen: Seen) -> None:
    """Prometheus evaluates every rule without an error, and nothing but the lost job and the limits fires."""
    rules = [rule for group in seen.prometheus.ask("rules")["groups"] for rule in group["rules"]]
    assert [(rule["name"], rule["lastError"]) for rule in rules if rule["health"] != "ok"] == []
    firing = {rule["name"] for rule in rules if rule.get("state") == "firing"}
    assert firing == {"JobspanJobsLost"}


def test_what_waits_for_a_wms_that_is_gone_is_seen(seen: Seen, tmp_path: Path) -> None:
    """A job that ends while the WMS is away stands in the spool, and nothing stood there before. (The last test.)"""
    seen.prometheus.wait_value('sum(jobspan_spool_pending{sink="wms"})', 0)
    go = tmp_path / "go"
    waits = f"-c 'until [ -e {go} ]; do sleep 0.1; done'"
    job_id = seen.site.submit(Executable="/bin/sh", Arguments=waits, DisableCPUCheck=True)
    seen.site.wait_fact(job_id, PayloadStarted)
    seen.site.wms.process.kill()
    seen.site.wms.process.wait(DEADLINE_SECONDS)
    go.touch()
    seen.prometheus.wait_value('sum(jobspan_spool_pending{sink="wms"})', 1, DEADLINE_SECONDS)
    alerts = seen.prometheus.wait('ALERTS{alertname="JobspanTargetDown", alertstate="pending", job="jobspan-wms"}')
    assert [value for _, value in alerts] == [1.0]
    assert seen.prometheus.value('sum(jobspan_spool_pending{sink="wms"})') == 1
