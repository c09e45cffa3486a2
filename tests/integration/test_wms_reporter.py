"""The reporter's thread: what its callers are promised while the WMS comes and goes."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from runner.errors import FencedError, UnavailableError
from runner.locks import LockHeld
from runner.process.cancel import Cancel
from runner.wms.client import WmsClient
from runner.wms.reporter import Reporter
from runner.wms.tokens import FixedToken
from telemetry.bus import Bus
from telemetry.clock import SystemClock
from telemetry.facts import Fenced, HeartbeatMade, JobAccepted, KillRequested, ParametersSet, StatusChanged
from telemetry.journal import Journal, read_journal
from tests.support.http_faults import FaultyServer, faulty_server
from tests.support.journals import facts_of
from tests.support.one_job_wms import OneJobWms
from tests.support.waiting import eventually

TAKE = "import sys; from pathlib import Path; from runner.locks import FileLock; FileLock.take(Path(sys.argv[1]))"
RUNNING = StatusChanged(status="Running", minor_status="Job Initialization")


@dataclass
class Wrapper:
    """The part of a wrapper that the reporter sees."""

    control: Path
    bus: Bus
    cancel: Cancel
    reporter: Reporter
    wms: OneJobWms
    server: FaultyServer


@pytest.fixture
def wrapper(tmp_path: Path) -> Iterator[Wrapper]:
    wms = OneJobWms()
    with faulty_server(wms.handle) as (server, url), Journal(tmp_path, "wrapper", SystemClock()) as journal:
        bus = Bus(journal)
        cancel = Cancel(bus.emit)
        client = WmsClient(url, FixedToken("token-of-the-job"), timeout_seconds=20.0)
        reporter = Reporter(tmp_path, client, job_id=7, clock=SystemClock(), cancel=cancel, emit=bus.emit)
        bus.listen(reporter.wake)
        reporter.start()
        yield Wrapper(tmp_path, bus, cancel, reporter, wms, server)
        reporter.stop(20.0)
        client.close()


def has_failed(wrapper: Wrapper) -> None:
    """Wait until the reporter has had an answer that is none: from then on it has a reason to give."""
    eventually(lambda: not wrapper.reporter.is_answered, 20.0, "the first failure")


def test_running_is_confirmed_with_one_call(wrapper: Wrapper) -> None:
    """What the agent has written before goes along, in order and in the same call; then the wrapper may go on."""
    with Journal(wrapper.control, "agent", SystemClock()) as agent:
        agent.append(StatusChanged(status="Matched", minor_status="Job Received by Agent", source="JobAgent"))
        agent.append(StatusChanged(minor_status="Submitting To CE", source="JobAgent"))
        agent.append(JobAccepted(task="InProcess-1", computing_element="ce"))
    wrapper.bus.emit(RUNNING)
    wrapper.reporter.confirm_running(20.0)
    assert len([each for each in wrapper.server.paths if each.startswith("PATCH /api/jobs/status")]) == 1
    assert wrapper.wms.minors == ["Job Received by Agent", "Submitting To CE", "Job Initialization"]
    assert wrapper.reporter.drain(20.0)
    assert wrapper.wms.parameters == {"TaskID": "InProcess-1", "SubmittedToCE": "Job submitted as InProcess-1"}


def test_a_wms_that_is_away_is_waited_for(wrapper: Wrapper) -> None:
    """Running is confirmed as soon as the WMS is back; nobody is told before."""
    wrapper.wms.faults = ["500", "reset", "reset", "503"]
    wrapper.bus.emit(RUNNING)
    wrapper.reporter.confirm_running(20.0)
    assert wrapper.wms.status == "Running"
    assert wrapper.wms.faults == []


def test_no_answer_in_time_is_said(wrapper: Wrapper) -> None:
    """Waiting for the WMS ends at the caller's deadline, with the reason."""
    wrapper.wms.faults = ["500"] * 100
    wrapper.bus.emit(RUNNING)
    has_failed(wrapper)
    with pytest.raises(UnavailableError, match="HTTP 500"):
        wrapper.reporter.confirm_running(0.3)
    with pytest.raises(UnavailableError, match="HTTP 500"):
        wrapper.reporter.close_attempt("Done", "Execution Complete", preempted=False, timeout_seconds=0.3)
    wrapper.wms.faults = []


def test_no_busy_loop_while_the_wms_is_away(wrapper: Wrapper) -> None:
    """However many facts are emitted meanwhile, a WMS that fails is asked with growing pauses."""
    wrapper.wms.faults = ["500"] * 1000
    deadline = time.monotonic() + 1.5
    pause = threading.Event()
    while time.monotonic() < deadline or len(wrapper.server.seen) < 2:
        assert time.monotonic() < deadline + 20, "nobody asks the WMS"
        wrapper.bus.emit(StatusChanged(minor_status="Application"))
        pause.wait(0.01)
    assert 2 <= len(wrapper.server.seen) <= 8
    wrapper.wms.faults = []


def test_a_kill_by_status_answer_stops_the_job(wrapper: Wrapper) -> None:
    """The WMS that keeps Killed has told of a kill: the job is cancelled, the kill confirmed, no status follows."""
    wrapper.bus.emit(RUNNING)
    wrapper.reporter.confirm_running(20.0)
    wrapper.wms.status = "Killed"
    wrapper.bus.emit(StatusChanged(minor_status="Application"))
    assert wrapper.cancel.wait(20.0)
    assert wrapper.cancel.cause == KillRequested(origin="user", reason="Received Kill signal")
    wrapper.bus.emit(ParametersSet(parameters={"a": 1}))
    kept = wrapper.reporter.close_attempt("Killed", "Received Kill signal", preempted=False, timeout_seconds=20.0)
    assert kept == ("Killed", "Received Kill signal")
    assert wrapper.wms.acknowledged == [5]
    assert wrapper.wms.minors == ["Job Initialization"]


def test_a_kill_by_heartbeat_stops_the_job(wrapper: Wrapper) -> None:
    """The command in a heartbeat's answer cancels the job too."""
    wrapper.wms.status = "Killed"
    wrapper.bus.emit(HeartbeatMade(values={}))
    assert wrapper.cancel.wait(20.0)
    assert wrapper.reporter.drain(20.0)
    assert wrapper.wms.acknowledged == [5]


def test_a_fence_stops_the_job(wrapper: Wrapper) -> None:
    """The answer that the attempt is somebody else's is recorded as a fact, cancels the job, and is told to waiters."""
    wrapper.wms.fenced = True
    wrapper.bus.emit(RUNNING)
    with pytest.raises(FencedError, match="attempt 2"):
        wrapper.reporter.confirm_running(20.0)
    assert wrapper.cancel.wait(20.0)
    assert wrapper.cancel.cause is not None
    assert wrapper.cancel.cause.origin == "fence"
    with pytest.raises(FencedError):
        wrapper.reporter.close_attempt("Done", "Execution Complete", preempted=False, timeout_seconds=20.0)
    assert len(facts_of(read_journal(wrapper.control), Fenced)) == 1


def test_a_running_that_is_not_kept_is_a_fence(wrapper: Wrapper) -> None:
    """Where tokens do not fence (DiracX), a WMS that keeps another status than Running means the same."""
    wrapper.wms.status = "Done"
    wrapper.bus.emit(RUNNING)
    with pytest.raises(FencedError, match="Done"):
        wrapper.reporter.confirm_running(20.0)


def test_a_running_that_is_only_logged_is_not_accepted(wrapper: Wrapper) -> None:
    """An answer with Status null, as DiracX gives to what is dated before its newest, lets no payload start; the report
    is repeated, and confirmed when it has been taken."""
    wrapper.wms.faults = ["null"] * 100
    wrapper.bus.emit(RUNNING)
    has_failed(wrapper)
    with pytest.raises(UnavailableError, match="only logged Running"):
        wrapper.reporter.confirm_running(0.3)
    wrapper.wms.faults = []
    wrapper.reporter.confirm_running(20.0)
    assert wrapper.wms.status == "Running"


def test_an_end_that_is_only_logged_is_not_closed(wrapper: Wrapper) -> None:
    """A final status that the WMS has not taken is not called kept: it stays pending, and goes out again."""
    wrapper.bus.emit(RUNNING)
    wrapper.reporter.confirm_running(20.0)
    wrapper.wms.faults = ["null"] * 100
    wrapper.bus.emit(StatusChanged(status="Failed", minor_status="Application Finished With Errors"))
    has_failed(wrapper)
    with pytest.raises(UnavailableError, match="only logged Failed"):
        wrapper.reporter.close_attempt("Failed", "x", preempted=False, timeout_seconds=0.3)
    wrapper.wms.faults = []
    kept = wrapper.reporter.close_attempt("Failed", "x", preempted=False, timeout_seconds=20.0)
    assert kept == ("Failed", "Application Finished With Errors")


def test_the_close_returns_what_the_wms_keeps(wrapper: Wrapper) -> None:
    """All that was emitted before is delivered first."""
    wrapper.bus.emit(RUNNING)
    wrapper.bus.emit(StatusChanged(status="Completing", minor_status="Application Finished Successfully"))
    wrapper.bus.emit(StatusChanged(status="Done", minor_status="Execution Complete"))
    kept = wrapper.reporter.close_attempt("Done", "Execution Complete", preempted=False, timeout_seconds=20.0)
    assert kept == ("Done", "Execution Complete")
    assert wrapper.wms.minors[-1] == "Execution Complete"


@pytest.mark.parametrize("faults", [["", "lost"], ["", "lost", "500"], ["", "reset", ""], []])
def test_the_next_attempt_is_asked_for_exactly_once(wrapper: Wrapper, faults: list[str]) -> None:
    """Also when the answer to the call is lost: then the fence of the second call says that the first was heard."""
    wrapper.bus.emit(RUNNING)
    wrapper.reporter.drain(20.0)
    wrapper.wms.faults = list(faults)  # type: ignore[arg-type]
    wrapper.bus.emit(StatusChanged(status="Rescheduled", minor_status="Going to reschedule job"))
    kept = wrapper.reporter.close_attempt(
        "Rescheduled", "Going to reschedule job", preempted=False, timeout_seconds=20.0
    )
    assert kept == ("Rescheduled", "Going to reschedule job")
    assert wrapper.wms.rescheduled == 1


def test_a_refused_reschedule_is_a_failure(wrapper: Wrapper) -> None:
    """When the maximum is reached, the WMS keeps Failed, and so does the record."""
    wrapper.wms.most_reschedulings = 0
    wrapper.bus.emit(StatusChanged(status="Rescheduled", minor_status="Going to reschedule job"))
    kept = wrapper.reporter.close_attempt("Rescheduled", "x", preempted=False, timeout_seconds=20.0)
    assert kept == ("Failed", "Maximum of reschedulings reached")


def test_one_deliverer_a_job(wrapper: Wrapper) -> None:
    """While the reporter lives, its lock keeps others away; after `stop` it is free."""
    command = [sys.executable, "-c", TAKE, str(wrapper.control / "deliver.lock")]
    assert LockHeld.__name__ in subprocess.run(command, stderr=subprocess.PIPE, check=False).stderr.decode()
    assert wrapper.reporter.stop(20.0)
    assert subprocess.run(command, check=False).returncode == 0
