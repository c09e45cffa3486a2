"""A wrapper that is stopped in its tracks (SIGSTOP) and comes back, through a real site."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.compose.reconciliation import of_node
from runner.compose.site import Service
from telemetry.facts import AttemptEnded, Fenced, PayloadStarted, WrapperStarted
from telemetry.ledger.record import Record
from telemetry.reconcile.statement import render_text
from tests.support.processes import is_alive
from tests.support.site import DEADLINE_SECONDS, Site, running_site
from tests.support.waiting import eventually

NOT_RUNNING = "Job stalled: pilot not running"
#: Beyond the time of a late heartbeat on a busy machine; and time for a next attempt to be heard of there.
STALLED, FAILED = 3.0, 12.0
RECONCILED_SECONDS = 20.0


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One site for all tests of this module, with room for the next attempt beside a stopped one."""
    with running_site(tmp_path_factory.mktemp("site"), 3, WMS={"StalledTime": STALLED, "FailedTime": FAILED}) as made:
        yield made


@pytest.fixture
def patient_site(tmp_path: Path) -> Iterator[Site]:
    """One that gives a stopped wrapper all the time that a busy machine may need to have it heard of again."""
    with running_site(tmp_path / "site", WMS={"StalledTime": 2 * STALLED, "FailedTime": 120.0}) as made:
        yield made


def stopped(site: Site, seconds: str = "300") -> tuple[int, int, int]:
    """A job whose wrapper was stopped while its payload runs: JobID, pid of the wrapper, pid of the payload."""
    job_id = site.submit(Executable="/bin/sleep", Arguments=seconds)
    payload = site.wait_fact(job_id, PayloadStarted).fact
    wrapper = site.wait_fact(job_id, WrapperStarted).fact
    assert isinstance(payload, PayloadStarted)
    assert isinstance(wrapper, WrapperStarted)
    site.wait(job_id, "Running", "Application")
    os.kill(wrapper.pid, signal.SIGSTOP)
    return job_id, wrapper.pid, payload.pid


def test_a_job_that_comes_back_in_time_goes_on(patient_site: Site) -> None:
    """Stalled while its wrapper is silent, Running when it is heard of again, Done in the end; one record, its own."""
    site = patient_site
    job_id, wrapper, _ = stopped(site, "12")
    site.wait(job_id, "Stalled")
    os.kill(wrapper, signal.SIGCONT)
    site.wait(job_id, "Done", "Execution Complete")
    assert site.wait_record(job_id)["RecordedBy"] == "wrapper"
    assert [status for status, _ in site.log(job_id)].count("Stalled") == 1


def test_a_job_that_comes_back_too_late_is_stopped_and_its_record_supersedes_the_estimate(site: Site) -> None:
    """The payload is ended, the true record counts with the WMS's final status, both ledgers agree, both are shown."""
    job_id, wrapper, payload = stopped(site)
    site.wait(job_id, "Failed", NOT_RUNNING)
    estimate = site.wait_record(job_id)
    assert (estimate["RecordedBy"], estimate["FinalMajorStatus"], estimate["ErrorType"]) == ("wms", "Failed", "stalled")
    assert is_alive(payload)

    os.kill(wrapper, signal.SIGCONT)
    eventually(lambda: not is_alive(payload), DEADLINE_SECONDS, "the payload to be stopped")

    def true_record() -> Record | None:
        record = site.wait_record(job_id)
        return record if record["RecordedBy"] == "wrapper" else None

    record = eventually(true_record, DEADLINE_SECONDS, "the record of the wrapper")
    assert record is not None
    assert (record["FinalMajorStatus"], record["FinalMinorStatus"]) == ("Failed", NOT_RUNNING)
    assert record.number("WallClockTime") > estimate.number("WallClockTime")
    history = site.client.accounting_history(job_id)
    assert [(each.record["RecordedBy"], each.is_current) for each in history] == [("wms", False), ("wrapper", True)]
    assert site.status(job_id) == ("Failed", NOT_RUNNING)
    assert [(each.status, each.minor_status) for each in site.facts(job_id, AttemptEnded)] == [("Failed", NOT_RUNNING)]
    reconciled(site)


def test_an_attempt_that_was_replaced_is_fenced_when_it_comes_back(site: Site, tmp_path: Path) -> None:
    """Its Kill, never delivered, does not hit the next attempt, which runs to its end; the old payload is ended."""
    mark = tmp_path / "first"
    job_id = site.submit(
        Executable="/bin/sh", Arguments=f"-c 'if test -e {mark}; then sleep 2; else touch {mark}; exec sleep 300; fi'"
    )
    payload, wrapper = site.wait_fact(job_id, PayloadStarted).fact, site.wait_fact(job_id, WrapperStarted).fact
    assert isinstance(payload, PayloadStarted)
    assert isinstance(wrapper, WrapperStarted)
    eventually(mark.exists, 30, "the first payload")
    os.kill(wrapper.pid, signal.SIGSTOP)
    site.wait(job_id, "Failed", NOT_RUNNING)
    site.client.reschedule([job_id])
    site.wait(job_id, "Done", "Execution Complete")

    os.kill(wrapper.pid, signal.SIGCONT)
    eventually(lambda: not is_alive(payload.pid), DEADLINE_SECONDS, "the first payload to be stopped")
    site.wait_fact(job_id, AttemptEnded)
    assert site.facts(job_id, Fenced)
    assert site.status(job_id) == ("Done", "Execution Complete")
    assert site.wait_record(job_id, 2)["FinalMajorStatus"] == "Done"
    eventually(
        lambda: site.wait_record(job_id, 1)["RecordedBy"] == "wrapper",
        DEADLINE_SECONDS,
        "the record of the first attempt",
    )
    reconciled(site)


def reconciled(site: Site) -> None:
    """Once all is delivered, the two ledgers agree."""
    try:
        eventually(lambda: of_node(site.config, site.client).is_clean, RECONCILED_SECONDS)
    except AssertionError:
        raise AssertionError(render_text(of_node(site.config, site.client))) from None


def test_a_node_that_comes_back_tells_the_end_in_the_words_of_the_wms(tmp_path: Path) -> None:
    """Agent and wrapper are killed; when the job has failed as stalled, the next agent brings the true record.

    The agent asks the WMS before it writes the end, so that the record has the final status of the WMS; the estimate
    stays in the history.
    """
    options = {"StalledTime": STALLED, "FailedTime": FAILED}
    with running_site(tmp_path / "site", WMS=options) as site:
        job_id = site.submit(Executable="/bin/sleep", Arguments="300")
        payload = site.wait_fact(job_id, PayloadStarted).fact
        wrapper = site.wait_fact(job_id, WrapperStarted).fact
        assert isinstance(payload, PayloadStarted)
        assert isinstance(wrapper, WrapperStarted)
        site.wait(job_id, "Running", "Application")
        site.agent.process.kill()
        os.kill(wrapper.pid, signal.SIGKILL)
        site.wait(job_id, "Failed", NOT_RUNNING)
        assert site.wait_record(job_id)["RecordedBy"] == "wms"

        agent = Service(site.config, ["agent", "--drain"], site.agent.log)
        try:
            assert agent.process.wait(120) == 0
        finally:
            agent.stop()
        assert not is_alive(payload.pid)
        record = site.wait_record(job_id)
        assert (record["RecordedBy"], record["Revision"], record["ErrorType"]) == ("agent", 1, "wrapper_died")
        assert (record["FinalMajorStatus"], record["FinalMinorStatus"]) == ("Failed", NOT_RUNNING)
        assert site.status(job_id) == ("Failed", NOT_RUNNING)
        assert len(site.facts(job_id, AttemptEnded)) == 1
        history = [(each.record["RecordedBy"], each.is_current) for each in site.client.accounting_history(job_id)]
        assert history == [("wms", False), ("agent", True)]
        reconciled(site)
