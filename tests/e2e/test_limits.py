"""Limits of a whole site: the graceful stop, the end of the batch job, a WMS that is gone. Real processes."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from telemetry.facts import AttemptEnded, LimitHit, PayloadStarted, SignalSent
from telemetry.journal import read_journal
from tests.support.processes import is_alive
from tests.support.site import DEADLINE_SECONDS, Site, running_site

#: Ends as told by INT, and says so; never by itself. What can be told bears `-X answers`; from before that the signal
#: is blocked: one that comes early waits until it is asked for.
ANSWERS = (
    "-c 'import os, signal; signal.pthread_sigmask(signal.SIG_BLOCK, [2]); "
    'os.execl("/usr/bin/python3", "python3", "-X", "answers", "-c", '
    '"import signal, sys; print(1, flush=True); signal.sigwait([2]); sys.exit(130)")\''
)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A site of its own for each test."""
    with running_site(tmp_path / "site") as running:
        yield running


def test_a_graceful_stop_ends_well(site: Site) -> None:
    """A job that is told by StopSig* and answers with 130 is Done, with its output, its record and no limit hit."""
    job_id = site.submit(
        Executable="/usr/bin/python3", Arguments=ANSWERS, OutputSandbox=["std.out"], MaxWallClockTime=60,
        StopSigRegex="^python3 -X answers ", StopSigStartWork=1, StopSigFinishWork=59,
    )  # fmt: skip
    record = site.wait_record(job_id)

    assert site.status(job_id) == ("Done", "Execution Complete")
    assert ("Completing", "Application Finished Successfully") in site.log(job_id)
    assert (record.text("FinalMajorStatus"), record.integer("ExitCode"), record.text("ErrorType")) == ("Done", 130, "")
    assert site.client.sandboxes(job_id, "output")
    # That nobody was there yet to be told is a fact of its own.
    (sent,) = [each for each in site.facts(job_id, SignalSent) if each.processes]
    assert (sent.purpose, sent.signal, sent.processes) == ("stop", signal.SIGINT, 1)
    assert site.facts(job_id, LimitHit) == []


def test_jobs_end_before_the_batch_job_does(tmp_path: Path) -> None:
    """With StopMargin left, jobs are ended as DIRAC names it, and the agent takes no more and ends by itself."""
    left = {"Site": {"CPUTimeLeft": 300.0, "CPUNormalizationFactor": 10.0}, "JobWrapper": {"StopMargin": 18.0}}
    with running_site(tmp_path / "site", **left) as site:
        job_id = site.submit(Executable="/bin/sleep", Arguments="600", DisableCPUCheck=True)
        pid = int(site.wait_fact(job_id, PayloadStarted).fact.pid)  # type: ignore[attr-defined]
        record = site.wait_record(job_id)
        assert site.status(job_id) == ("Failed", "Job has reached the CPU limit of the queue")
        assert record.text("ErrorType") == "queue_cpu_limit"
        assert not is_alive(pid)
        assert site.agent.process.wait(DEADLINE_SECONDS) == 0


def test_an_agent_ends_soon_without_its_wms(site: Site) -> None:
    """With the WMS gone, an agent that is told to stop ends its jobs and itself; the rest is the next one's."""
    job_id = site.submit(Executable="/bin/sleep", Arguments="600", DisableCPUCheck=True)
    pid = int(site.wait_fact(job_id, PayloadStarted).fact.pid)  # type: ignore[attr-defined]
    control = site.wait_folder(job_id) / "control"
    site.wms.process.kill()
    site.wms.process.wait(10)
    site.agent.process.send_signal(signal.SIGTERM)
    assert site.agent.process.wait(40) == 0  # 12 s on an idle machine
    assert not is_alive(pid)
    (ended,) = [entry.fact for entry in read_journal(control) if isinstance(entry.fact, AttemptEnded)]
    assert (ended.status, ended.error_type) == ("Rescheduled", "preempted")
    assert not (control / "settled").exists()
