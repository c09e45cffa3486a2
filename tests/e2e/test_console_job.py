"""The console's page of a job that really ran: what it used over time, what is accounted, where its time went."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support.browser import Browser
from tests.support.tree import ROOT
from tests.support.wms import running_wms

#: Some seconds of work, so that there are several heartbeats, and lines all the while.
WORK = "for i in 1 2 3 4 5 6; do echo line $i of many; sleep 0.6; done"


def test_a_job_that_ran_stands_with_all_that_is_known_of_it(tmp_path: Path) -> None:
    """Curves of memory and output, the record, the sandbox to fetch, the stages of the trace."""
    (tmp_path / "work.sh").write_text(WORK)
    job = {"Executable": "/bin/sh", "Arguments": "work.sh", "InputSandbox": ["work.sh"], "OutputSandbox": ["std.out"]}
    (tmp_path / "job.json").write_text(json.dumps(job))
    (tmp_path / "jobspan.toml").write_text("[JobWrapper]\nCheckingTime = 1\nMinCheckingTime = 1\n")
    command = ["run", "job.json", "--json", "--folder", "site", "--config", "jobspan.toml"]
    done = subprocess.run(
        [sys.executable, "-m", "runner.cli", *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    job_id = json.loads(done.stdout)["job_id"]
    with running_wms(tmp_path / "site") as wms:
        browser = Browser().open(f"{wms.url}/console/login")
        browser.send(token=wms.admin_token)
        page = browser.open(f"{wms.url}/console/jobs/{job_id}").page.text
        written = re.search(r"Output written: (\d+) B at the end", page)
        assert written is not None, page
        assert 0 < int(written[1]) <= 6 * len("line 1 of many\n")
        assert "Memory: " in page
        assert "Done: Execution Complete" in page
        fetched = re.search(r'href="(/console/sandboxes\?pfn=[^"]+)" download', page)
        assert fetched is not None, page
        redirected = browser.open(wms.url + fetched[1].replace("&amp;", "&")).page
        assert redirected.status_code == 303
        assert browser.open(redirected.headers["location"]).page.status_code == 200
        trace = browser.open(f"{wms.url}/console/jobs/{job_id}/trace").page.text
        assert all(f"<td>{stage}</td>" in trace for stage in ("initialize", "execute", "finalize")), trace
        assert "Log out" in trace
