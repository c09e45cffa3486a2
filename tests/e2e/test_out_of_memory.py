"""Real kills for want of memory: in a control group with little of it, and what is told of them."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from telemetry.facts import AttemptEnded, PayloadStarted, UsageSettled, WrapperReaped, WrapperStarted
from telemetry.live.otlp_files import OtlpFiles, read_accounting
from tests.support.components import cgroup1_folder, require
from tests.support.processes import is_alive
from tests.support.site import Site, running_site
from tests.support.waiting import eventually

LIMIT_BYTES = 400 << 20
#: Waits for the word, then takes more than there is, by a megabyte at a time.
GREEDY = (
    "import os, time\n"
    "while not os.path.exists('go-on'): time.sleep(0.02)\n"
    "taken = []\n"
    "while len(taken) < 2000: taken.append(bytearray(os.urandom(1 << 20)))\n"
    "time.sleep(60)\n"
)


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group with little memory; whoever is still in it at the end is moved out."""
    require("memory1")
    parent = cgroup1_folder("memory")
    assert parent
    made = parent / f"jobspan-test-memory-{os.getpid()}"
    made.mkdir()
    (made / "memory.limit_in_bytes").write_text(str(LIMIT_BYTES))
    yield made
    eventually(lambda: is_removed(made), 30, "nobody to be in the group any more")


def is_removed(group: Path) -> bool:
    """Move out who is in *group*, unless he ends at that moment, and remove it; whether that could be done."""
    for pid in (group / "cgroup.procs").read_text().split():
        with contextlib.suppress(ProcessLookupError):
            (group.parent / "cgroup.procs").write_text(pid)
    with contextlib.suppress(OSError):  # of those who have ended some are still on their way out
        group.rmdir()
    return not group.exists()


@pytest.fixture(params=["wait4"])
def site(tmp_path: Path, group: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    """A site whose agent, with all that it starts, is in the group."""
    members = group / "cgroup.procs"
    members.write_text(str(os.getpid()))  # whoever is started now is born there
    try:
        with running_site(tmp_path / "site", JobWrapper={"CPUMethod": request.param, "CleanUpFlag": False}) as running:
            for pid in (os.getpid(), running.wms.process.pid):
                (group.parent / "cgroup.procs").write_text(str(pid))
            yield running
    finally:
        (group.parent / "cgroup.procs").write_text(str(os.getpid()))


def greedy(site: Site) -> tuple[int, int, Path]:
    """A job that waits for the word: its number, the pid of its payload, and the word."""
    (site.config.folder / "greedy.py").write_text(GREEDY)
    job_id = site.submit(Executable="/usr/bin/python3", Arguments="greedy.py", InputSandbox=["greedy.py"], CPUTime=1000)
    pid = site.wait_fact(job_id, PayloadStarted).fact.pid
    return job_id, pid, site.wait_folder(job_id) / "work" / "go-on"


def accounted(site: Site, job_id: int) -> None:
    """One event, and one record at the WMS, both with the cause."""
    record = site.wait_record(job_id)
    assert record.text("ErrorType") == "out_of_memory"
    logs = OtlpFiles(site.config.telemetry_folder).logs
    events = eventually(
        lambda: logs.exists() and [e for e in read_accounting(logs).events if e.uid == record.text("UID")], 20
    )
    assert len(events) == 1


@pytest.mark.parametrize("site", ["wait4", "auto"], indirect=True)
def test_a_payload_that_takes_too_much_memory(site: Site) -> None:
    """The kernel kills the payload, which is willing to be the victim, and not us; status, record and event say why.

    The limit holds for a payload that has a memory group of its own, too.
    """
    job_id, payload, word = greedy(site)
    word.touch()
    ended = site.wait_fact(job_id, AttemptEnded).fact
    assert (ended.error_type, ended.recorded_by) == ("out_of_memory", "wrapper")
    assert site.status(job_id) == ("Failed", "Application Finished With Errors")
    assert not is_alive(payload)
    (settled,) = site.facts(job_id, UsageSettled)
    assert settled.peak_rss_bytes > LIMIT_BYTES // 2
    accounted(site, job_id)


def test_a_wrapper_that_dies_for_want_of_memory(site: Site, group: Path) -> None:
    """The kernel takes the wrapper first: the agent tells the cause, ends the payload and accounts the attempt."""
    job_id, payload, _ = greedy(site)
    (started,) = site.facts(job_id, WrapperStarted)
    # Only raising is allowed without CAP_SYS_RESOURCE; the payload would be the better victim, so it is elsewhere.
    (group.parent / "cgroup.procs").write_text(str(payload))
    Path(f"/proc/{started.pid}/oom_score_adj").write_text("1000")
    (site.config.folder / "go-on").touch()
    with subprocess.Popen(
        [sys.executable, "-c", f"open('{group}/cgroup.procs', 'w').write('0')\n{GREEDY}"], cwd=site.config.folder
    ) as neighbour:
        reaped = site.wait_fact(job_id, WrapperReaped).fact
        neighbour.kill()
    assert (reaped.signal, bool(reaped.oom_kills)) == (signal.SIGKILL, True)
    ended = site.wait_fact(job_id, AttemptEnded).fact
    assert (ended.error_type, ended.recorded_by) == ("out_of_memory", "agent")
    assert site.status(job_id) == ("Failed", "JobWrapper execution")
    assert not is_alive(payload)
    accounted(site, job_id)
