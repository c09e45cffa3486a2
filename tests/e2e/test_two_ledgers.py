"""Accounting twice, held against each other: through the command line, over what a real site has left."""

import csv
import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runner.cli import main
from runner.compose.reports import attempts
from runner.compose.site import Service
from runner.config import load
from telemetry.live.otlp_files import OtlpFiles, read_accounting
from tests.support.site import Site, running_site
from tests.support.waiting import eventually

JOBS = 4


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A site on which JOBS jobs have ended, and whose telemetry is complete."""
    with running_site(tmp_path / "site", slots=2) as running:
        ids = [running.submit(Executable="/bin/echo", Arguments=str(number)) for number in range(JOBS)]
        for job_id in ids:
            running.wait(job_id, "Done")
            running.wait_record(job_id)
        logs = OtlpFiles(running.config.telemetry_folder).logs
        eventually(lambda: len(read_accounting(logs).events) == JOBS)
        yield running


def _reconcile(site: Site, capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, dict[str, object]]:
    capsys.readouterr()
    code = main(["--json", "--folder", str(site.config.folder), "reconcile", *map(str, arguments)])
    return code, json.loads(capsys.readouterr().out)


def test_a_run_without_faults_is_clean(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is reported where nothing is wrong: exit code 0, all attempts matched."""
    code, report = _reconcile(site, capsys)

    assert (code, report["differences"], report["matched"]) == (0, [], JOBS)
    # Though the telemetry, which leaves the site, has a hash where the WMS has the user.
    events = read_accounting(OtlpFiles(site.config.telemetry_folder).logs).events
    assert {str(each.record["User"])[:7] for each in events} == {"hashed-"}
    assert not {str(each["User"])[:7] for each in site.client.all_accounting().records} & {"hashed-"}


def test_three_faults_are_three_differences(site: Site, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A deleted OTLP line, a doubled one and a changed CPUTime are found, each as what it is, and nothing else; files
    and metrics have the same."""
    logs = OtlpFiles(site.config.telemetry_folder).logs
    by_job = {event.record["JobID"]: event for event in read_accounting(logs).events}
    lines = logs.read_text().splitlines(keepends=True)
    deleted, doubled, changed = 1, 2, 3
    kept = [line for line in lines if by_job[deleted].uid not in line]
    copies = [line for line in lines if by_job[doubled].uid in line]
    logs.write_text("".join(kept + copies))
    _change_cpu_time(site, changed)
    rows, metrics = tmp_path / "rows.csv", tmp_path / "jobspan.prom"
    code, report = _reconcile(site, capsys, "--csv", rows, "--metrics", metrics, "--html", tmp_path / "page.html")

    found = sorted((each["job_id"], each["kind"]) for each in report["differences"])  # type: ignore[attr-defined]
    assert code == 1
    assert found == [(deleted, "missing_in_otlp"), (doubled, "duplicate"), (changed, "cpu")]
    with rows.open(newline="") as file:
        assert {(int(row["job_id"]), row["kind"]) for row in csv.DictReader(file)} == {
            (deleted, "missing"),
            (doubled, "duplicate"),
            (changed, "cpu"),
        }
    assert '_differences{class="missing_in_otlp"} 1.0' in metrics.read_text()
    assert "CPUTime is" in (tmp_path / "page.html").read_text()
    # Nothing has ended before that day.
    assert _reconcile(site, capsys, "--until", "2026-01-01")[0] == 0


def test_two_sites_and_one_collector_do_not_collide(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Job 1 of two WMS folders: other UIDs and other traces, and each reconciles clean over the joint file, of which it
    leaves out the other's event."""
    uids, traces, folders = set(), set(), []
    for name in ("here", "there"):
        with running_site(tmp_path / name) as site:
            job_id = site.submit(Executable="/bin/true")
            site.wait(job_id, "Done")
            record = site.wait_record(job_id)
            logs = OtlpFiles(site.config.telemetry_folder).logs
            eventually(lambda logs=logs: read_accounting(logs).events)
            uids.add(record.text("UID"))
            traces.add(record.text("TraceID"))
            folders.append(site.config.folder)
            assert job_id == 1
    joint = "".join((folder / "telemetry" / "logs.jsonl").read_text() for folder in folders)
    for folder in folders:
        (folder / "telemetry" / "logs.jsonl").write_text(joint)

    assert len(uids) == len(traces) == 2
    for folder in folders:
        with _wms_alone(folder):
            assert main(["--json", "--folder", str(folder), "reconcile"]) == 0
            assert json.loads(capsys.readouterr().out)["foreign"] == 1


@contextmanager
def _wms_alone(folder: Path) -> Iterator[None]:
    """Only the WMS of a folder, for a question after its agent has gone."""
    service = Service(load(folder=folder), ["wms"], folder / "logs" / "wms.log")
    try:
        yield
    finally:
        service.stop()


def _change_cpu_time(site: Site, job_id: int) -> None:
    """What somebody with access to the WMS's database could do: one figure of one row."""
    record = dict(attempts(site.config, job_id)[0].record or {})
    with sqlite3.connect(site.config.wms_folder / "wms.sqlite", timeout=10) as database:
        tables = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            columns = [row[1] for row in database.execute(f"PRAGMA table_info('{table}')")]
            for column in columns:
                rows = database.execute(
                    f"SELECT rowid, {column} FROM '{table}' WHERE {column} LIKE ?", (f'%"UID":"{record["UID"]}"%',)
                ).fetchall()
                for rowid, body in rows:
                    values = json.loads(body)
                    values["CPUTime"] = values["CPUTime"] + 100.0
                    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
                    database.execute(f"UPDATE '{table}' SET {column} = ? WHERE rowid = ?", (text, rowid))
    database.close()
