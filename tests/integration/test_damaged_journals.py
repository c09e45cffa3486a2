"""Journals in which a disk, or a payload of the same user, has damaged a word: one attempt suffers, and nobody else."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import runner
from runner.agent.outbox import outbox
from runner.wms.tokens import TOKEN_FILE
from telemetry.clock import SystemClock
from telemetry.facts import StatusChanged
from telemetry.journal import Journal, read_journal
from telemetry.ledger.builder import record_of
from telemetry.live.metrics import JobMetrics, SelfStatus
from telemetry.live.spans import Unidentified, render
from tests.support.attempts import play
from tests.support.tree import ROOT
from tests.support.wms import running_wms


def words(line: dict[str, object]) -> Iterator[tuple[dict[str, object], str]]:
    """Each text in *line*, by the table in which it stands and its name there."""
    data = line["data"]
    for table in (line, data if isinstance(data, dict) else {}):
        yield from ((table, name) for name, value in table.items() if isinstance(value, str) and value)


def damaged(path: Path) -> Iterator[str]:
    """The journal at *path* with each of its words damaged in turn; yields which one it is."""
    whole = path.read_bytes()
    lines = [json.loads(line) for line in whole.splitlines()]
    for number, line in enumerate(lines):
        for table, name in list(words(line)):
            before = str(table[name])
            table[name] = chr(ord(before[0]) ^ 0x02) + before[1:]
            path.write_text("".join(json.dumps(each) + "\n" for each in lines))
            yield f"{path.name}:{number}: {name} = {table[name]}"
            table[name] = before
    path.write_bytes(whole)


def test_no_damaged_word_stops_anybody(tmp_path: Path) -> None:
    """Whatever single word of a journal is another one: those who look at all attempts of a node (the record, the
    spans, the metrics, the list of the outbox) go on, with what is left of that attempt."""
    control = tmp_path / "jobs" / "7.1" / "control"
    play(control)
    count = 0
    for path in sorted(control.glob("*.journal.jsonl")):
        for which in damaged(path):
            count += 1
            try:
                look_at(tmp_path, control)
            except Exception as error:
                raise AssertionError(f"{which}: {error!r}") from error
    assert count > 60


def look_at(folder: Path, control: Path) -> None:
    """As an agent does that starts, and its operator."""
    entries = read_journal(control)
    record = record_of(entries)
    try:
        render(entries, record, service_name="x", resource={})
    except Unidentified:
        assert record is None
    outbox(folder / "jobs", collector=True)
    (folder / "counters.jsonl").unlink(missing_ok=True)
    metrics = JobMetrics(
        folder / "counters.jsonl", SystemClock(), version=runner.__version__, status=SelfStatus, job_gauges=10
    )
    for ended in metrics.rescan(folder / "jobs"):
        metrics.attempt_ended(ended, record)
    list(metrics.collect())


@pytest.mark.parametrize(
    ("word", "other", "ends"),
    [('"recorded_by":"wrapper"', '"recorded_by":"xrapper"', 1), ('"owner":"alice"', '"owner":["alice"]', 0)],
    ids=["no end", "no record"],
)
def test_an_agent_starts_and_delivers_beside_damage(tmp_path: Path, word: str, other: str, ends: int) -> None:
    """An attempt whose end is damaged gets one by the agent; one whose record cannot be made tells its final status,
    and leaves a dead letter that says why. The agent ends in order."""
    with running_wms(tmp_path, observed=True) as wms:
        job_id = wms.submit()
        job = wms.match()
        assert job is not None
        control = tmp_path / "jobs" / f"{job_id}.1" / "control"
        play(control, job_id=job_id, uid=job["UID"], wms_id=job["WMSID"])
        (control / TOKEN_FILE).write_text(job["JobToken"] + "\n")
        with Journal(control, "wrapper", SystemClock()) as journal:
            journal.append(StatusChanged(status="Failed", minor_status="JobWrapper execution"))
        for path in control.glob("*.journal.jsonl"):
            path.write_text(path.read_text().replace(word, other))
        command = [sys.executable, "-m", "runner.cli", "--folder", str(tmp_path), "agent", "--drain"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
        assert wms.status(job_id)[0] == "Failed"
        records = wms.call("GET", f"/api/jobspan/accounting?job_id={job_id}").json()["Records"]
        assert [each["RecordedBy"] for each in records] == ["agent"] * ends
    items = [item for item in outbox(tmp_path / "jobs", collector=False) if item.sink == "wms-accounting"]
    assert [(item.state, "User" in item.reason) for item in items] == [("dead", True)] * (1 - ends)
