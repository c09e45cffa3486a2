"""The outbox of a whole site as its operator sees it: dead letters are listed, exported and tried again."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.cli import main
from telemetry.catalogue import SERVICE_NAME
from telemetry.outbox import Acknowledgements
from tests.support.collector import Collector, Reply, collector
from tests.support.site import DEADLINE_SECONDS, Site, running_site
from tests.support.waiting import eventually


@pytest.fixture
def running() -> Iterator[Collector]:
    """A collector on loopback."""
    with collector() as each:
        yield each


def outbox(site: Site, capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """What `jobspan outbox ... --json` says."""
    main(["--folder", str(site.config.folder), "--json", "outbox", *arguments])
    return json.loads(capsys.readouterr().out)


def test_a_dead_letter_is_tried_again(tmp_path: Path, running: Collector, capsys: pytest.CaptureFixture[str]) -> None:
    """What a collector has refused for good stands in the list with its reason; re-opened, the running agent delivers
    it without a restart, and where no agent runs the command does."""
    running.replies += [Reply(status=400, service=SERVICE_NAME)] * 4  # the WMS sends spans of its own
    with running_site(tmp_path / "site", Telemetry={"OTLPEndpoint": running.endpoint}) as site:
        begin = time.monotonic()
        jobs = [site.submit(Executable="/bin/true") for _ in range(2)]
        for job_id in jobs:
            site.wait(job_id, "Done")
        eventually(lambda: len(outbox(site, capsys, "list", "--dead")["items"]) == 2, DEADLINE_SECONDS)
        listed = outbox(site, capsys, "list")["items"]
        assert {(row["JobID"], row["Sink"], row["State"]) for row in listed} == {(n, "otlp-http", "dead") for n in jobs}
        assert {row["Reason"] for row in listed} == {"the collector answered 400"}
        assert all(row["SizeBytes"] > 0 and row["AgeSeconds"] <= time.monotonic() - begin + 1 for row in listed)

        exported = tmp_path / "dead.jsonl"
        assert main(["--folder", str(site.config.folder), "outbox", "export", "--to", str(exported)]) == 0
        capsys.readouterr()
        bodies = [json.loads(line)["Body"] for line in exported.read_text().splitlines()]
        assert [set(body) for body in bodies] == [{"traces", "logs"}] * 2
        assert [(*body["traces"], *body["logs"]) for body in bodies] == [("resourceSpans", "resourceLogs")] * 2
        assert exported.stat().st_mode & 0o077 == 0

        assert outbox(site, capsys, "retry", "--job", str(jobs[0]))["by"] == "agent"
        eventually(lambda: len(running.uids()) == 3, DEADLINE_SECONDS)  # two were refused, one was taken
        eventually(
            lambda: [row["JobID"] for row in outbox(site, capsys, "list")["items"]] == [jobs[1]], DEADLINE_SECONDS
        )

        site.agent.stop()
        retried = outbox(site, capsys, "retry", "--all")
        assert retried == {"reopened": 1, "by": "command", "done": True}
        assert outbox(site, capsys, "list")["items"] == []
    assert sorted(running.uids()[2:]) == sorted(set(running.uids()))


def test_a_record_that_was_refused_is_tried_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same for the sinks of the WMS: a re-opened record is sent, and folded there."""
    with running_site(tmp_path / "site") as site:
        job_id = site.submit(Executable="/bin/true")
        site.wait(job_id, "Done")
        record = site.wait_record(job_id)
        control = site.wait_folder(job_id) / "control"
        eventually((control / "settled").exists, DEADLINE_SECONDS)
        Acknowledgements(control, "wms-accounting").settle(record.key.item, "dead", "refused by hand")
        (row,) = outbox(site, capsys, "list", "--dead")["items"]
        assert (row["Sink"], row["Kind"], row["State"], row["Reason"]) == (
            "wms-accounting", "record", "dead", "refused by hand",
        )  # fmt: skip
        assert outbox(site, capsys, "retry", "--sink", "wms-accounting") == {
            "reopened": 1, "by": "agent", "done": False,
        }  # fmt: skip
        eventually(lambda: outbox(site, capsys, "list")["items"] == [], DEADLINE_SECONDS)
        assert outbox(site, capsys, "list")["copies"] == {"wms-accounting": 1}
        main(["--folder", str(site.config.folder), "metrics", "--grep", "delivery_copies"])
        assert 'jobspan_delivery_copies_total{sink="wms-accounting"} 1.0' in capsys.readouterr().out
        assert len(site.client.all_accounting(job_id).records) == 1
