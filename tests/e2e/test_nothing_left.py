"""What remains of a site whose owner was killed: nothing."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from telemetry.facts import PayloadStarted
from telemetry.journal import read_journal
from tests.support.processes import is_alive, living
from tests.support.waiting import eventually


def test_a_killed_run_leaves_no_process(tmp_path: Path) -> None:
    """`jobspan run` that is killed -9 takes WMS, agent, wrapper and payload with it; nobody has to look for them."""
    job = {"Executable": "/usr/bin/python3", "Arguments": "-c 'while True: sum(range(1000))'", "CPUTime": 600}
    (tmp_path / "job.json").write_text(json.dumps(job))
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "runner.cli", "--folder", str(folder), "run", str(tmp_path / "job.json")]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    control = folder / "jobs" / "1.1" / "control"

    def payload() -> int:
        facts = [entry.fact for entry in read_journal(control)] if control.is_dir() else []
        return next((fact.pid for fact in facts if isinstance(fact, PayloadStarted)), 0)

    try:
        pid = eventually(payload, 120, "the payload")
    finally:
        run.send_signal(signal.SIGKILL)
        run.wait(60)

    def gone() -> bool:
        return not is_alive(pid) and not [seen for seen in living() if str(folder) in seen.command]

    # The WMS ends at the same time: wrapper and agent give up on it after some seconds each.
    eventually(gone, 120, "the end of everything that the run had started")
    assert os.path.exists(control / "wrapper.journal.jsonl")
