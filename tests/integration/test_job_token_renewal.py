"""Job tokens whose time is over: what can still be done with them, and what cannot."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.process.cancel import Cancel
from runner.wms.client import WmsClient
from runner.wms.reporter import Reporter
from runner.wms.tokens import TOKEN_FILE, FileToken, write_secret
from telemetry.bus import Bus
from telemetry.clock import SystemClock
from telemetry.facts import Fenced, StatusChanged
from telemetry.journal import Journal, read_journal
from tests.support.clock import JumpClock
from tests.support.journals import facts_of
from tests.support.wms import RunningWms, running_wms

HOUR, DAY = 3600.0, 86400.0
RUNNING = StatusChanged(status="Running", minor_status="Job Initialization")
DONE = StatusChanged(status="Done", minor_status="Execution Complete")


@pytest.fixture
def clock() -> JumpClock:
    """The WMS's clock; the node's is the machine's."""
    return JumpClock(utc_ns=SystemClock().utc_ns())


@pytest.fixture
def wms(tmp_path: Path, clock: JumpClock) -> Iterator[RunningWms]:
    with running_wms(tmp_path / "site", clock=clock) as running:
        yield running


@pytest.fixture
def job(wms: RunningWms) -> dict[str, Any]:
    """A job that was just matched."""
    wms.submit()
    match = wms.match()
    assert match
    return match


def renew(wms: RunningWms, job: dict[str, Any], token: str, **body: str) -> Any:
    return wms.call("POST", f"/api/jobspan/jobs/{job['JobID']}/token", body or None, token=token)


def test_a_token_that_is_over_opens_one_door_only(wms: RunningWms, job: dict[str, Any], clock: JumpClock) -> None:
    """An expired job token is 401 everywhere, but can be exchanged for a fresh one, which then works."""
    token = job["JobToken"]
    clock.advance(2 * HOUR)
    beat = {str(job["JobID"]): {}}
    assert wms.call("PATCH", "/api/jobs/heartbeat", beat, token=token).status_code == 401
    assert wms.call("GET", "/api/auth/userinfo", token=token).status_code == 401
    assert wms.call("POST", "/api/jobspan/accounting", {"Records": []}, token=token).status_code == 401
    fresh = renew(wms, job, token)
    assert fresh.status_code == 200
    assert wms.call("PATCH", "/api/jobs/heartbeat", beat, token=fresh.json()["JobToken"]).status_code == 200


def test_a_token_that_is_over_is_still_fenced(wms: RunningWms, job: dict[str, Any], clock: JumpClock) -> None:
    """Not for another job, not for an attempt that was replaced, not for an execution that came second."""
    token = job["JobToken"]
    second = renew(wms, job, token, Claim="s" * 32).json()["JobToken"]
    wms.report(job["JobID"], {"Status": "Running"}, token=second)
    clock.advance(2 * HOUR)
    other = {**job, "JobID": job["JobID"] + 1}
    assert renew(wms, other, token).status_code in (403, 404)
    assert renew(wms, job, token).status_code == 409
    assert renew(wms, job, second).status_code == 200
    wms.call("POST", "/api/jobs/reschedule", {"job_ids": [job["JobID"]]})
    refused = renew(wms, job, second)
    assert (refused.status_code, refused.headers.get("Jobspan-Fenced")) == (409, "1")


def test_after_a_week_a_token_is_fenced_for_good(wms: RunningWms, job: dict[str, Any], clock: JumpClock) -> None:
    """Its bearer gets an answer that ends its tries, and not one that may be better later."""
    clock.advance(HOUR + 7 * DAY - 10)
    assert renew(wms, job, job["JobToken"]).status_code == 200
    clock.advance(20)
    refused = renew(wms, job, job["JobToken"])
    assert (refused.status_code, refused.headers.get("Jobspan-Fenced")) == (409, "1")


def test_only_job_tokens_of_this_wms_can_be_exchanged(wms: RunningWms, job: dict[str, Any], clock: JumpClock) -> None:
    """Tokens of people and pilots are not, expired or not; a token with another signature is not."""
    assert renew(wms, job, wms.user_token).status_code == 403
    clock.advance(31 * DAY)
    for token in (wms.user_token, wms.pilot_token, wms.admin_token):
        assert renew(wms, job, token).status_code == 401
    head, claims, signature = job["JobToken"].split(".")
    forged = f"{head}.{claims}.{signature[:-4]}AAAA"
    assert renew(wms, job, forged).status_code == 401


@pytest.mark.parametrize("replaced", [False, True])
def test_a_node_that_was_cut_off_delivers_when_it_is_back(
    wms: RunningWms, job: dict[str, Any], clock: JumpClock, tmp_path: Path, replaced: bool
) -> None:
    """A reporter whose token ended, unknown to its own clock, renews it on the first 401; or learns of its end."""
    control = tmp_path / "control"
    control.mkdir()
    write_secret(control / TOKEN_FILE, job["JobToken"])
    client = WmsClient(wms.url, FileToken(control / TOKEN_FILE))
    with Journal(control, "wrapper", SystemClock()) as journal:
        bus = Bus(journal)
        cancel = Cancel(bus.emit)
        reporter = Reporter(control, client, job_id=job["JobID"], clock=SystemClock(), cancel=cancel, emit=bus.emit)
        bus.listen(reporter.wake)
        reporter.start()
        bus.emit(RUNNING)
        reporter.confirm_running(10.0)
        clock.advance(2 * HOUR)
        if replaced:
            wms.call("POST", "/api/jobs/reschedule", {"job_ids": [job["JobID"]]})
        bus.emit(DONE)
        assert reporter.drain(20.0)
        assert reporter.stop(5.0)
    client.close()
    wms.settle()
    assert bool(facts_of(read_journal(control), Fenced)) == replaced
    assert wms.status(job["JobID"])[0] == ("Waiting" if replaced else "Done")
