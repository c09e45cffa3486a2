"""Payloads that send spans and logs of their own: they join the trace of their job, and see nothing of the site's."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dashboards.check import samples
from runner.agent.folders import JobFolder, Pilot, job_matched, wrapper_arguments
from runner.cli import main
from runner.compose.kinds import open_client
from runner.compose.payload_telemetry import ADDRESS
from runner.compose.reports import metrics_text
from runner.compose.site import Service
from runner.wrapper.template import write_wrapper
from telemetry.clock import SystemClock, parse_utc
from telemetry.facts import PayloadStarted
from telemetry.journal import Journal
from telemetry.ledger.record import Record
from telemetry.live.lines import complete_lines
from telemetry.live.otlp_files import PAYLOAD, OtlpFiles, read_accounting, read_spans
from telemetry.live.payload_door import HOST
from telemetry.live.payload_spool import FILE_SINK, has_spool, owes
from tests.support.collector import Collector, collector
from tests.support.site import DEADLINE_SECONDS, Site, running_site
from tests.support.waiting import eventually

PAYLOADS = Path(__file__).parents[1] / "support" / "payloads"
CANARY = "site-canary-0123456789"
NAMES = ["apart", "below", "continued"]
#: What a program without any SDK would do.
BY_HAND = """
import json, os, time, urllib.parse, urllib.request
end = time.time_ns()
_, trace, parent, _ = os.environ["TRACEPARENT"].split("-")
span = dict(traceId=trace, spanId="1234567890abcdef", parentSpanId=parent, name="by hand", kind=1,
            startTimeUnixNano=str(end - 5), endTimeUnixNano=str(end))
body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).encode()
name, _, value = os.environ["OTEL_EXPORTER_OTLP_HEADERS"].partition("=")
call = urllib.request.Request(os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] + "/v1/traces", body,
                              {"Content-Type": "application/json", name: urllib.parse.unquote(value)})
print(urllib.request.urlopen(call, timeout=20).read().decode())
"""


@pytest.fixture
def running() -> Iterator[Collector]:
    """A collector on loopback."""
    with collector() as each:
        yield each


def submit(site: Site, **description: Any) -> int:
    """A job that is instrumented."""
    return site.submit(
        PAYLOADS,
        **{"Executable": sys.executable, "Arguments": "instrumented.py", "InputSandbox": ["instrumented.py"],
           "StdOutput": "std.out", "OutputSandbox": ["std.out"], **description},
    )  # fmt: skip


def test_an_instrumented_payload_joins_with_no_configuration(
    tmp_path: Path, running: Collector, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the SDK or by hand: its spans and logs are in the trace of its job, below the payload, in the node's files and
    at the collector, which sees the site's headers; the payload does not, and its secret is found nowhere else."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"x-site={CANARY}")
    tables = {
        "JobWrapper": {"CleanUpFlag": False, "MaxJobPeekLines": 200},
        "Telemetry": {"OTLPEndpoint": running.endpoint},
    }
    with running_site(tmp_path / "site", **tables) as site:
        # a proxy where nobody is: what is meant for the door must not go there
        job_id = submit(site, JobName="analysis", ExecutionEnvironment=["HTTP_PROXY=http%3A//127.0.0.1%3A9"])
        (tmp_path / "by_hand.py").write_text(BY_HAND)
        by_hand = site.submit(
            tmp_path, Executable=sys.executable, Arguments="by_hand.py", InputSandbox=["by_hand.py"],
            OutputSandbox=["std.out"],
        )  # fmt: skip
        site.wait(job_id, "Done")
        site.wait(by_hand, "Done")
        eventually(
            lambda: {*NAMES, "by hand"} <= {*running.spans()}, DEADLINE_SECONDS, "the payload's spans at the collector"
        )
        eventually(
            lambda: any("/payload/" in str(each.body) for each in running.received), DEADLINE_SECONDS, "its log record"
        )
        record = recorded(site, job_id)
        shown = environment_of(site, job_id)
        counted = payload_counters(site)
        assert main(["--folder", str(site.config.folder), "--json", "trace", str(job_id)]) == 0
        (attempt,) = json.loads(capsys.readouterr().out)["attempts"]

    spans = {each["name"]: each for each in attempt["spans"]}
    payload = spans[Path(sys.executable).name]
    assert {spans[name]["trace_id"] for name in NAMES} == {record.text("TraceID")}
    assert [spans[name]["parent_span_id"] for name in NAMES] == [
        payload["span_id"], spans["continued"]["span_id"], payload["span_id"],
    ]  # fmt: skip
    assert (spans["apart"]["service"], shown["OTEL_SERVICE_NAME"]) == ("analysis", "analysis")
    assert CANARY not in str(shown)
    assert {each.headers.get("x-site") for each in running.received} == {CANARY}
    secret = shown["OTEL_EXPORTER_OTLP_HEADERS"].rpartition("~")[2]
    assert len(secret) > 30
    assert places(site.config.folder, secret) == {f"jobs/{job_id}.1/work/std.out"}
    assert counted["items", "taken", "traces"] == len(NAMES) + 1
    assert counted["items", "taken", "logs"] == 1
    assert counted["bytes", "traces"] > 0
    assert {labels for labels, value in counted.items() if value and "taken" not in labels} == {
        ("bytes", "traces"), ("bytes", "logs"),
    }  # fmt: skip


def payload_counters(site: Site) -> dict[tuple[str, ...], float]:
    """What the agent shows of the telemetry that its payloads have handed in: by what is counted, and the labels."""
    start = "jobspan_payload_telemetry_"
    found = (each for each in samples(metrics_text(site.config)) if each[0].startswith(start))
    return {
        (name.removeprefix(start).removesuffix("_total"), *(labels[each] for each in sorted(labels))): value
        for name, labels, value in found
    }


def environment_of(site: Site, job_id: int) -> dict[str, str]:
    """What the payload has shown."""
    shown = (site.config.jobs_folder / f"{job_id}.1" / "work" / "std.out").read_text().splitlines()
    return dict(line.split("=", 1) for line in shown if "=" in line)


def places(folder: Path, secret: str) -> set[str]:
    """The files below *folder* in which *secret* stands."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)) for path in files if secret.encode() in path.read_bytes()}


def test_a_hostile_payload_hurts_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Forgeries, a bomb, silent callers, a neighbour's door, a flood, and a daemon that goes on after the end: each is
    answered as it should be, its job ends in order, its trace and its record are ours, and the next job runs."""
    # few calls a second, so that also on a busy machine a hundred of them are a flood
    with running_site(tmp_path / "site", Telemetry={"PayloadTelemetryRate": 8.0}) as site:
        job_id = submit(site, Arguments="telltale.py", InputSandbox=["telltale.py"])
        after = site.submit(Executable="/bin/true")
        site.wait(job_id, "Done")
        site.wait(after, "Done")
        record = recorded(site, job_id)
        (line,) = output(site, job_id, tmp_path).splitlines()
        files = OtlpFiles(site.config.telemetry_folder, PAYLOAD)
        eventually(lambda: files.traces.exists() and not has_spool_owed(site, job_id), DEADLINE_SECONDS)
        sent = read_spans(files.traces).spans
        capsys.readouterr()
        assert main(["--folder", str(site.config.folder), "--json", "trace", str(job_id)]) == 0
        (attempt,) = json.loads(capsys.readouterr().out)["attempts"]

    said = json.loads(line)
    statuses = {name: status for name, (status, _) in said["answers"].items()}
    assert statuses == {"mine": 200, "stage": 200, "payload": 200, "record": 200, "bomb": 413, "neighbour": 401}
    assert [name for name, (_, text) in said["answers"].items() if "rejected" in text] == ["stage", "payload", "record"]
    assert set(said["flood"]) == {"200", "429"}
    ends = {each.end_ns for each in sent if each.name == "late"}
    assert all(end <= parse_utc(record.text("EndTime")) for end in ends)
    names = [each["name"] for each in attempt["spans"]]
    assert (names.count("jobspan.stage.execute"), "mine" in names) == (1, True)
    events = read_accounting(OtlpFiles(site.config.telemetry_folder).logs).events
    assert [each.item for each in events if each.uid == record.text("UID")] == [f"{record.text('UID')}/wrapper/1"]
    assert not files.logs.exists()


def recorded(site: Site, job_id: int) -> Record:
    """The record of a job, once the node's files have our own spans of it: another thread writes the payload's."""
    record, traces = site.wait_record(job_id), OtlpFiles(site.config.telemetry_folder).traces
    eventually(
        lambda: read_spans(traces, containing=[record.text("TraceID")]).spans,
        DEADLINE_SECONDS,
        "the attempt's own spans",
    )
    return record


def has_spool_owed(site: Site, job_id: int) -> bool:
    """Whether the node's files have not got the spool yet."""
    return owes(site.config.jobs_folder / f"{job_id}.1" / "control", FILE_SINK)


def output(site: Site, job_id: int, folder: Path) -> str:
    """The job's standard output, from its sandbox."""
    assert main(["--folder", str(site.config.folder), "output", str(job_id), "--to", str(folder / "fetched")]) == 0
    return next((folder / "fetched").rglob("std.out")).read_text()


def test_a_payload_goes_on_with_the_next_agent(tmp_path: Path) -> None:
    """The agent is killed while a payload runs: nobody else gets its port, the next one listens at the same place, and
    nothing is lost; when nobody is left who needs it the port is free."""
    go_on = tmp_path / "go-on"
    os.mkfifo(go_on)
    with running_site(tmp_path / "site") as site:
        job_id = submit(site, Arguments=f"instrumented.py {go_on}")
        control = site.wait_folder(job_id) / "control"
        writer = eventually(lambda: awaited(go_on), DEADLINE_SECONDS, "the first two spans")
        assert has_spool(control)
        site.agent.process.kill()
        site.agent.stop()
        place = (HOST, int(door_of(site).rpartition(":")[2]))
        with pytest.raises(OSError, match="in use"):
            socket.create_server(place)
        agent = Service(site.config, ["agent"], site.agent.log)
        try:
            os.write(writer, b"now\n")
            os.close(writer)
            site.wait(job_id, "Done")
            files = OtlpFiles(site.config.telemetry_folder, PAYLOAD)
            assert door_of(site) == "http://{}:{}".format(*place)
            eventually(lambda: {*NAMES} <= {each.name for each in read_spans(files.traces).spans}, DEADLINE_SECONDS)
        finally:
            agent.stop()
        socket.create_server(place).close()


def awaited(pipe: Path) -> int | None:
    """The end for writing, once somebody waits at the other."""
    with contextlib.suppress(OSError):
        return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    return None


def door_of(site: Site) -> str:
    """Where the agent takes telemetry of payloads, or took it."""
    return (site.config.folder / "agent" / ADDRESS).read_text()


def test_a_wrapper_without_an_agent_has_a_door_of_its_own(tmp_path: Path) -> None:
    """Run by a person or a batch system it takes its payload's telemetry itself, and ships it with its own."""
    with running_site(tmp_path / "site") as site:
        site.agent.stop()
        client = open_client(site.config, "pilot")
        job_id = submit(site)
        matched = client.match({"PilotStamp": "by-hand", "Site": site.config.site.name, "Processors": 1}, 5.0)
        assert matched is not None
        folder = JobFolder.make(site.config.jobs_folder, matched)
        pilot = Pilot("by-hand", "by-hand")
        with Journal(folder.control, "agent", SystemClock()) as journal:
            journal.append(job_matched(site.config, matched, pilot, 0.0))
        script = write_wrapper(folder.control, job_id, wrapper_arguments(site.config, matched, pilot, client.url))
        done = subprocess.run([str(script)], cwd="/", capture_output=True, text=True, timeout=240, check=False)

    assert done.returncode == 0, done.stderr
    files = OtlpFiles(site.config.telemetry_folder, PAYLOAD)
    assert sorted(each.name for each in read_spans(files.traces).spans if each.name in NAMES) == NAMES
    assert any(b"converged" in line for _, line in complete_lines(files.logs))


def test_without_the_flag_a_payload_is_told_nothing(tmp_path: Path) -> None:
    """PayloadTelemetryFlag off: no variable, no secret, no door."""
    with running_site(
        tmp_path / "site", JobWrapper={"CleanUpFlag": False}, Telemetry={"PayloadTelemetryFlag": False}
    ) as site:
        job_id = site.submit(Executable="/usr/bin/env")
        site.wait(job_id, "Done")
        assert [name for name in environment_of(site, job_id) if name.startswith("OTEL_")] == []
        assert not (site.config.folder / "agent" / "payload-telemetry.url").exists()
        assert site.facts(job_id, PayloadStarted)
