"""Secrets of the node and tokens of ours: nothing that a job leaves shows them (promise 8)."""

import contextlib
import os
import sqlite3
from pathlib import Path

import pytest
import requests
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)

from runner.cli import main
from runner.compose.clients import METRICS_URL_FILE, WMS_METRICS_URL_FILE
from runner.compose.wms_telemetry import SPAN_FILE
from telemetry.catalogue import SERVICE_NAME, WMS_SERVICE_NAME
from telemetry.facts import PayloadPlanned, PayloadStarted, WrapperStarted
from telemetry.outbox import Acknowledgements
from tests.support.collector import Reply, collector
from tests.support.processes import living
from tests.support.site import DEADLINE_SECONDS, Site, running_site
from tests.support.waiting import eventually

CANARY = "canary-5f0d0e1b7c"
#: One that the job itself brings along.
OWN = "canary-own-93b1c4d2"
#: Where tokens and keys belong; everything else must be without them.
KEPT = ("tokens/", "wms/keys.json", "/control/job.token", "wms/wms.sqlite")
#: Where the WMS keeps descriptions as they were given.
DESCRIPTIONS = {"job_descriptions"}


def test_no_secret_is_found_in_what_a_job_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values of secret variables and tokens are in no journal, log, span, record, output or environment of a job."""
    monkeypatch.setenv("SITE_DB_PASSWORD", CANARY)
    monkeypatch.setenv("HARMLESS", f"http://user:{CANARY}-in-url@example.invalid/")
    with running_site(tmp_path / "site", JobWrapper={"CleanUpFlag": False}) as site:
        token = (site.config.tokens_folder / "pilot.token").read_text().strip()
        shown = site.submit(
            Executable="/bin/sh", Arguments=f"-c 'env; echo {CANARY} {token} $API_TOKEN'", Shell=False,
            OutputSandbox=["std.out"], ExecutionEnvironment=[f"API_TOKEN={OWN}"],
        )  # fmt: skip
        broken = site.submit(
            Executable=f"/nowhere/{CANARY}/$API_TOKEN", OutputSandbox=["std.out"],
            ExecutionEnvironment=[f"API_TOKEN={OWN}"],
        )  # fmt: skip
        site.wait(shown, "Done")
        site.wait(broken, "Failed")
        site.wait_record(broken)
        job_token = (site.wait_folder(shown) / "control" / "job.token").read_text().strip()
        traces = site.config.telemetry_folder / "traces.jsonl"
        eventually(lambda: traces.exists() and traces.read_text().count('"jobspan.job"') >= 2)
        peek = site.client.peek(shown).standard_output
        scraped = _scraped(site)
        file = site.config.telemetry_folder / SPAN_FILE
        spans = eventually(lambda: _saying(file, "jobspan/accounting"), DEADLINE_SECONDS)
        environment = (site.wait_folder(shown) / "work" / "std.out").read_text()

    for secret in (CANARY, OWN, token, job_token):
        assert secret not in scraped + spans  # also the WMS's own
    assert "SITE_DB_PASSWORD" not in environment
    assert f"API_TOKEN={OWN}" in environment  # what the job names it keeps
    for secret in (CANARY, OWN, token):
        assert secret not in peek
    for secret in (CANARY, OWN):
        assert _places(site.config.folder, secret) == {
            # What the job itself says and prints is its own.
            f"jobs/{shown}.1/control/Wrapper_{shown}.json",
            f"jobs/{broken}.1/control/Wrapper_{broken}.json",
            f"jobs/{shown}.1/work/std.out",
        }
        assert _tables(site, secret) == DESCRIPTIONS
    assert _places(site.config.folder, job_token) == set()
    assert _places(site.config.folder, token) == {
        f"jobs/{shown}.1/control/Wrapper_{shown}.json",
        f"jobs/{shown}.1/work/std.out",
    }


def test_no_secret_is_found_where_deliveries_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor in dead letters, their export, what the collector gets, the WMS's database, or the command lines and
    environments of a job's processes and of those that made them, while it runs; also when the collector quotes the
    credentials that it was shown, to agent and WMS."""
    monkeypatch.setenv("SITE_DB_PASSWORD", CANARY)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"authorization=Bearer%20{CANARY}")
    go_on = tmp_path / "go-on"
    os.mkfifo(go_on)
    with collector() as running:
        running.replies += [Reply(body=_quoting_refusal(), service=each) for each in (SERVICE_NAME, WMS_SERVICE_NAME)]
        with running_site(
            tmp_path / "site",
            JobWrapper={"CleanUpFlag": False},
            Telemetry={"OTLPEndpoint": running.endpoint},
        ) as site:
            pilot = (site.config.tokens_folder / "pilot.token").read_text().strip()
            job_id = site.submit(Executable="/bin/sh", Arguments=f"-c 'read line < {go_on}'", Shell=False)
            payload = site.wait_fact(job_id, PayloadStarted).fact.pid
            wrapper = site.facts(job_id, WrapperStarted)[0].pid
            job_token = (site.wait_folder(job_id) / "control" / "job.token").read_text().strip()
            lines = _command_lines(site.agent.process.pid, payload, wrapper, _starter(site, job_id))
            of_payload, of_wrapper = _proc(payload, "environ"), _proc(wrapper, "environ")
            go_on.write_text("now\n")
            site.wait(job_id, "Done")
            control = site.wait_folder(job_id) / "control"
            dead = eventually(lambda: dict(Acknowledgements(control, "otlp-http").dead), DEADLINE_SECONDS)
            exported = tmp_path / "site" / "exported.jsonl"
            for asked in (["list", "--json"], ["export", "--to", str(exported)]):
                assert main(["--folder", str(site.config.folder), "outbox", *asked]) == 0
            listed = capsys.readouterr().out
            scraped = eventually(lambda: "" if running.replies else _scraped(site), DEADLINE_SECONDS, "both refusals")
            sent = b"".join(each.body for each in running.received)

    assert list(dead.values()) == ["no rights for ***"]
    assert exported.stat().st_size > 1000
    for secret in (CANARY, pilot, job_token):
        assert secret.encode() not in lines + of_payload + sent
        assert secret.rpartition(".")[2] not in listed + scraped + _dumped(site)  # nor a token's signature alone
        assert _places(site.config.folder, secret) == set()
    # What the operator has given to the agent is in its environment and that of its children, which only root may read.
    assert not any(token.encode() in of_wrapper for token in (pilot, job_token))


def _quoting_refusal() -> bytes:
    said = ExportTracePartialSuccess(rejected_spans=9, error_message=f"no rights for {CANARY}")
    return ExportTraceServiceResponse(partial_success=said).SerializeToString()


def _scraped(site: Site) -> str:
    """What Prometheus gets of agent and WMS."""
    found = ""
    for name in (METRICS_URL_FILE, WMS_METRICS_URL_FILE):
        answer = requests.get((site.config.folder / name).read_text().strip(), timeout=20)
        assert answer.status_code == 200
        found += answer.text
    assert "jobspan_jobs_finished_total" in found
    assert "jobspan_wms_spans_dropped_total" in found
    return found


def _starter(site: Site, job_id: int) -> int:
    return site.facts(job_id, PayloadPlanned)[0].starter_pid


def _command_lines(agent: int, *others: int) -> bytes:
    """Those of the *agent* and of all below it: of *others*, and of the zygote."""
    seen = living()  # with their command lines: some may be gone a moment later
    found = {each.pid: each.command for each in seen if each.pid == agent}
    while young := {each.pid: each.command for each in seen if each.parent in found and each.pid not in found}:
        found |= young
    assert found.keys() > {agent, *others}
    return "".join(found.values()).encode()


def _tables(site: Site, secret: str) -> set[str]:
    """The tables of the WMS in which *secret* stands."""
    return {line.split('"')[1] for line in _dumped(site).splitlines() if secret in line}


def _dumped(site: Site) -> str:
    """All that the WMS keeps in its database."""
    with contextlib.closing(sqlite3.connect(site.config.folder / "wms" / "wms.sqlite")) as connection:
        dumped = "\n".join(connection.iterdump())
    assert "/bin/sh" in dumped
    return dumped


def _proc(pid: int, name: str) -> bytes:
    return Path(f"/proc/{pid}/{name}").read_bytes()


def _places(folder: Path, secret: str) -> set[str]:
    """The files below *folder* in which *secret* stands, except those where it belongs."""
    found = set()
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent) / name
            inside = str(path.relative_to(folder))
            if (
                path.is_file()
                and not any(kept in f"/{inside}" for kept in KEPT)
                and secret.encode() in path.read_bytes()
            ):
                found.add(inside)
    return found


def _saying(file: Path, words: str) -> str:
    """The text of a file once it is there and has those words."""
    text = file.read_text() if file.exists() else ""
    return text if words in text else ""
