"""Jobs of which the WMS hears nothing any more: by a clock that only the test moves."""

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from runner.config import load
from runner.server.serve import migrate_database
from runner.server.services.stalled_job_agent import Looked, StalledJobAgent
from telemetry.ledger.record import Record
from telemetry.ledger.sanity import inconsistencies
from tests.support.clock import JumpClock
from tests.support.ledger import matched, whole_life
from tests.support.tree import ROOT
from tests.support.waiting import eventually
from tests.support.wms import RunningWms, running_wms

STALLED, FAILED, MATCHED = 60.0, 180.0, 30.0
OPTIONS = {
    "WMS": {
        "StalledTime": STALLED, "FailedTime": FAILED, "MatchedTime": MATCHED, "RescheduledTime": STALLED,
        "MaxRescheduling": 1,
    }
}  # fmt: skip
NOT_RUNNING = "Job stalled: pilot not running"


class Site:
    """A WMS whose clock stands still, and its look at stalled jobs."""

    def __init__(self, wms: RunningWms, clock: JumpClock) -> None:
        self.wms = wms
        self.clock = clock
        self.agent = StalledJobAgent(wms.context)

    def passes(self, seconds: float) -> Looked:
        """Let time pass, with a look every ten seconds; the sum of what came of them."""
        total = dict.fromkeys(Looked.__dataclass_fields__, 0)
        while seconds > 0:
            self.clock.advance(min(10.0, seconds))
            seconds -= 10.0
            looked = self.agent.look()
            assert looked is not None
            total = {name: count + getattr(looked, name) for name, count in total.items()}
        self.wms.settle()
        return Looked(**total)

    def running(self, description: str = 'Executable = "/bin/true";') -> dict[str, Any]:
        """A job that runs: the answer of its match."""
        self.wms.submit(description)
        match = self.wms.match(Processors=2, GridCE="ce.test.org", CEQueue="long", CPUNormalizationFactor=2.0)
        assert match
        self.report(match, {"Status": "Running", "MinorStatus": "Application"})
        return match

    def report(self, match: dict[str, Any], update: dict[str, Any]) -> Any:
        self.clock.advance(0.001)  # two reports of one moment are one
        moment = datetime.fromtimestamp(self.clock.utc_ns() / 1e9, UTC)
        return self.wms.report(match["JobID"], update, token=match["JobToken"], at=moment)

    def beat(self, match: dict[str, Any], **values: float) -> Any:
        """A heartbeat; the commands in its answer."""
        answer = self.wms.call("PATCH", "/api/jobs/heartbeat", {str(match["JobID"]): values}, token=match["JobToken"])
        return answer.json() if answer.status_code == 200 else answer.status_code

    def accounting(self, job_id: int, what: str = "") -> Any:
        return self.wms.call("GET", f"/api/jobspan/accounting{what}?job_id={job_id}").json()

    def insert(self, *records: dict[str, Any]) -> list[str]:
        answer = self.wms.call("POST", "/api/jobspan/accounting", {"Records": records}, token=self.wms.pilot_token)
        return [each["Outcome"] for each in answer.json()["Results"]]


@pytest.fixture
def site(tmp_path: Path, fresh_database: str) -> Iterator[Site]:
    """A WMS for one test, on each kind of database."""
    clock = JumpClock()
    with running_wms(tmp_path, clock=clock, database=fresh_database, overrides=OPTIONS) as wms:
        yield Site(wms, clock)


def true_record(match: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The record of the wrapper itself."""
    fact = matched(match["JobID"], match["Attempt"], uid=match["UID"], wms_id=match["WMSID"])
    return {name: value for name, value in whole_life(fact).record().replace(**changes).items() if value is not None}


def test_a_silent_job_is_stalled_and_comes_back_with_a_heartbeat(site: Site) -> None:
    """Stalled after StalledTime without a sign of life, not before; a heartbeat makes it Running again."""
    match = site.running()
    site.passes(50)
    site.beat(match)
    assert site.passes(60) == Looked()
    assert site.passes(10) == Looked(stalled=1)
    assert site.wms.status(match["JobID"]) == ("Stalled", "Application")
    assert site.beat(match) == []
    assert site.wms.status(match["JobID"]) == ("Running", "Application")
    assert site.passes(60) == Looked()


def test_every_kind_of_report_is_a_sign_of_life(site: Site) -> None:
    """Heartbeats, statuses, parameters and the renewal of the token: whoever speaks is not stalled."""
    match = site.running()
    job_id = match["JobID"]
    for speak in (
        lambda: site.report(match, {"ApplicationStatus": "event 1"}),
        lambda: site.wms.call("PATCH", "/api/jobs/metadata", {str(job_id): {"A": 1}}, token=match["JobToken"]),
        lambda: site.wms.call("POST", f"/api/jobspan/jobs/{job_id}/token", token=match["JobToken"]),
        lambda: site.beat(match),
    ):
        assert site.passes(50) == Looked()
        speak()
    assert site.passes(50) == Looked()


def test_a_job_that_stays_silent_fails_with_an_estimate_and_a_kill(site: Site) -> None:
    """Failed after FailedTime; a record from the last heartbeat; an order to stop that says how the job has ended."""
    match = site.running('Executable = "/bin/true"; NumberOfProcessors = 2;')
    site.passes(40)
    site.beat(match, CPUConsumed=33.0, WallClockTime=84.0)
    looked = site.passes(FAILED + 10)
    assert looked == Looked(stalled=1, failed=1)
    assert site.wms.status(match["JobID"]) == ("Failed", NOT_RUNNING)
    (body,) = site.accounting(match["JobID"])["Records"]
    record = Record(body)
    assert inconsistencies(record) == ()
    assert (record["RecordedBy"], record["FinalMajorStatus"], record["FinalMinorStatus"], record["ErrorType"]) == (
        "wms", "Failed", NOT_RUNNING, "stalled",
    )  # fmt: skip
    assert (record["CPUTime"], record["NormCPUTime"], record["WallClockTime"], record["ExecTime"]) == (33, 66, 42, 84)
    assert (record["CE"], record["Queue"], record["CPUMethod"]) == ("ce.test.org", "long", "heartbeat")
    (command,) = site.beat(match)
    assert (command["command"], command["arguments"]) == ("Kill", NOT_RUNNING)
    refused = site.report(match, {"Status": "Done", "MinorStatus": "Execution Complete"})
    assert (refused["Status"], refused["MinorStatus"]) == ("Failed", NOT_RUNNING)
    for late in ({"Status": "Failed", "MinorStatus": "JobWrapper execution"}, {"MinorStatus": "Uploading Outputs"}):
        refused = site.report(match, late)
        assert (refused["Status"], refused["MinorStatus"]) == ("Failed", NOT_RUNNING)
        assert refused["Reason"]


@pytest.mark.parametrize(
    ("factor", "told", "cpu_seconds"),
    [
        (2.0, {"CPUConsumed": 1e17, "WallClockTime": 1}, 0),
        (2.0, {"CPUConsumed": 9e13}, 0),  # normalised it is more than can be
        (2.0, {"CPUConsumed": 1, "WallClockTime": 1e14}, 1),
        (1e300, {"CPUConsumed": 1}, 1),
    ],
)
def test_a_heartbeat_that_no_record_holds_counts_for_nothing(
    site: Site, factor: float, told: dict[str, float], cpu_seconds: float
) -> None:
    """The job fails as any other, and its estimate has what the WMS saw itself instead of what cannot be."""
    job_id = site.wms.submit()
    match = site.wms.match(CPUNormalizationFactor=factor) or {}
    site.report(match, {"Status": "Running"})
    site.clock.advance(20.0)
    assert site.beat(match, **told) == []
    assert site.passes(FAILED + 80) == Looked(stalled=1, failed=1)
    (record,) = site.accounting(job_id)["Records"]
    assert (record["WallClockTime"], record["CPUTime"]) == (pytest.approx(20, abs=0.1), cpu_seconds)
    assert inconsistencies(Record(record)) == ()


def test_a_job_that_breaks_a_look_breaks_it_for_itself_alone(site: Site) -> None:
    """Whatever stands in the row of one attempt: others are failed, taken back and estimated all the same."""
    broken, silent = site.running(), site.running()
    done = site.running()
    site.report(done, {"Status": "Done"})
    lost = site.running()
    site.report(lost, {"Status": "Done"})
    site.wms.submit()
    assert site.wms.match()
    with site.wms.context.databases.write() as transaction:
        for each in (broken, done):
            transaction.attempts.change(each["JobID"], 1, {"LastHeartbeat": '{"Time": "never"}'})
    assert site.passes(FAILED + 80) == Looked(stalled=2, failed=1, taken_back=1, estimated=1)
    assert [site.wms.status(each["JobID"])[0] for each in (broken, silent)] == ["Stalled", "Failed"]
    assert len(site.accounting(lost["JobID"])["Records"]) == 1


def test_a_late_true_record_supersedes_the_estimate_and_both_are_visible(site: Site) -> None:
    """The wrapper's record counts, the agent's would not displace it, the estimate stays in the history."""
    match = site.running()
    site.passes(FAILED + 80)
    true = true_record(match, FinalMajorStatus="Failed", FinalMinorStatus=NOT_RUNNING)
    assert site.insert(true, {**true, "RecordedBy": "agent"}) == ["inserted", "inserted"]
    found = site.accounting(match["JobID"])
    assert [each["RecordedBy"] for each in found["Records"]] == ["wrapper"]
    assert found["Superseded"] == 2
    history = site.accounting(match["JobID"], "/history")["History"]
    shown = [(each["Record"]["RecordedBy"], each["IsCurrent"]) for each in history]
    assert shown == [("wms", False), ("wrapper", True), ("agent", False)]
    assert site.passes(FAILED + 80) == Looked()


def test_a_true_record_that_came_first_leaves_no_room_for_an_estimate(site: Site) -> None:
    """A record that is there is enough, though the final status never came."""
    match = site.running()
    site.insert(true_record(match))
    assert site.passes(FAILED + 80) == Looked(stalled=1, failed=1)
    assert [each["RecordedBy"] for each in site.accounting(match["JobID"])["Records"]] == ["wrapper"]


def test_a_match_that_nobody_took_up_is_taken_back_and_not_counted(site: Site) -> None:
    """After MatchedTime the job waits again, however often; the late agent is fenced, each match has a record."""
    job_id = site.wms.submit()
    for number in (1, 2, 3):  # MaxRescheduling is 1
        match = site.wms.match()
        assert match
        assert match["Attempt"] == number
        assert site.passes(MATCHED) == Looked()
        assert site.passes(10) == Looked(taken_back=1)
        assert site.wms.status(job_id) == ("Waiting", "Pilot Agent Submission")
    assert site.beat(match) == 409
    records = site.accounting(job_id)["Records"]
    assert [(each["RecordedBy"], each["ErrorType"], each["WallClockTime"]) for each in records] == [
        ("wms", "match_lost", 0.0)
    ] * 3
    assert inconsistencies(Record(records[0])) == ()


def test_an_agent_that_asks_for_commands_has_its_match(site: Site) -> None:
    """A job whose wrapper takes long to start is left alone while its agent asks for its commands."""
    site.wms.submit()
    match = site.wms.match()
    assert match
    wanted = {"PilotStamp": "stamp-1", "Jobs": [{"JobID": match["JobID"], "Attempt": 1}], "WaitSeconds": 0}
    for _ in range(5):
        assert site.passes(20) == Looked()
        site.wms.call("POST", "/api/jobspan/commands", wanted, token=site.wms.pilot_token)
    assert site.passes(40) == Looked(taken_back=1)


def test_a_job_left_rescheduled_is_put_back_and_counted(site: Site) -> None:
    """Whoever said Rescheduled and died is answered by the WMS; beyond MaxRescheduling the job is Failed."""
    match = site.running()
    job_id = match["JobID"]
    for expected in ("Waiting", "Failed"):
        site.report(match, {"Status": "Rescheduled", "MinorStatus": "Going to reschedule job"})
        assert site.passes(STALLED) == Looked()
        looked = site.passes(20)
        assert looked.put_back == 1
        assert site.wms.status(job_id)[0] == expected
        if expected == "Waiting":
            match = site.wms.match() or {}
            site.report(match, {"Status": "Running"})
    assert site.wms.status(job_id)[1] == "Maximum of reschedulings reached"
    site.passes(FAILED + 20)
    assert [each["Attempt"] for each in site.accounting(job_id)["Records"]] == [1, 2], "a record for each attempt"


def test_an_end_without_a_record_is_estimated(site: Site) -> None:
    """A job that was Done, and whose node burnt down before it could send the record."""
    match = site.running()
    site.passes(20)
    site.report(match, {"Status": "Done", "MinorStatus": "Execution Complete"})
    assert site.passes(FAILED) == Looked()
    assert site.passes(10) == Looked(estimated=1)
    (record,) = site.accounting(match["JobID"])["Records"]
    assert (record["FinalMajorStatus"], record["ErrorType"], round(record["WallClockTime"])) == (
        "Done",
        "record_lost",
        20,
    )


@pytest.mark.parametrize("trouble", ["restart", "step forwards", "suspended"])
def test_silence_counts_only_while_the_wms_listens(site: Site, trouble: str) -> None:
    """A WMS that was away, or whose clock was set, gives every job its full time again."""
    match = site.running()
    site.passes(20)
    if trouble == "restart":
        site.clock.advance(3 * FAILED)
        site.agent = StalledJobAgent(site.wms.context)
    elif trouble == "suspended":
        site.clock.advance(3 * FAILED)
    else:
        site.clock.step_utc(3 * FAILED)
    site.clock.advance(100)  # the lease of the former process
    assert site.agent.look() == Looked()
    assert site.passes(50) == Looked()
    assert site.passes(10) == Looked(stalled=1)
    assert site.wms.status(match["JobID"])[0] == "Stalled"


def test_of_several_processes_one_looks(site: Site) -> None:
    """The lease: the second looks when the first has gone for some time, and a clock set back does not lock it out."""
    other = StalledJobAgent(site.wms.context)
    assert site.agent.look() is not None
    assert other.look() is None
    site.clock.advance(125)
    assert other.look() is not None
    assert site.agent.look() is None
    site.clock.step_utc(-7200)
    assert site.agent.look() is not None


def test_two_lookers_at_once_do_everything_once(site: Site) -> None:
    """Even without the lease each step is taken by one of them."""
    match = site.running()
    other = StalledJobAgent(site.wms.context)
    site.passes(30)
    other.look()
    for _ in range(26):
        site.clock.advance(10)
        for agent in (site.agent, other):
            with site.wms.context.databases.write() as transaction:
                transaction.leases.take("StalledJobAgent", agent._holder, 0, 1)
            agent.look()
    statuses = [each["Status"] for each in site.wms.logging_info(match["JobID"])]
    assert statuses[-2:] == ["Stalled", "Failed"]
    assert statuses.count("Stalled") == 1
    assert len(site.accounting(match["JobID"], "/history")["History"]) == 1


def test_the_undelivered_kill_of_an_attempt_does_not_hit_the_next(site: Site) -> None:
    """The Kill for a stalled attempt is gone when the job is rescheduled; the old wrapper is fenced off instead."""
    first = site.running()
    job_id = first["JobID"]
    site.passes(FAILED + 80)
    assert site.wms.call("POST", "/api/jobs/reschedule", {"job_ids": [job_id]}).status_code == 200
    site.wms.settle()
    second = site.wms.match()
    assert second
    assert second["Attempt"] == 2
    site.report(second, {"Status": "Running"})
    assert site.beat(second) == []
    wanted = {"PilotStamp": "s", "Jobs": [{"JobID": job_id, "Attempt": n} for n in (1, 2)], "WaitSeconds": 0}
    assert site.wms.call("POST", "/api/jobspan/commands", wanted, token=site.wms.pilot_token).json() == {"Commands": []}
    assert site.beat(first) == 409


def test_the_thread_of_the_server_looks_by_itself(tmp_path: Path) -> None:
    """By the machine's clock, with nobody asking."""
    quick = {"StalledTime": 1.6, "FailedTime": 2.0}  # looks come every 0.4 s, and hear on if none is 1.2 s late
    with running_wms(tmp_path, overrides={"WMS": quick}) as wms:
        job_id = wms.submit()
        match = wms.match()
        assert match
        wms.report(job_id, {"Status": "Running"}, token=match["JobToken"])
        eventually(lambda: wms.status(job_id) == ("Failed", NOT_RUNNING), 90, "the job fails")


def test_a_database_of_the_version_before_opens(tmp_path: Path) -> None:
    """Columns and tables that were added since are made by the migration; what is there stays."""
    file = tmp_path / "wms" / "wms.sqlite"
    file.parent.mkdir()
    with sqlite3.connect(file) as database:
        database.executescript((ROOT / "tests" / "data" / "first_release.sql").read_text())
        database.execute("ALTER TABLE job_attempts DROP COLUMN LastSignTime")
        database.execute("ALTER TABLE job_attempts DROP COLUMN Slot")
        database.execute("DROP TABLE leases")
        database.execute("DROP TABLE accounting_conflicts")
    database.close()
    migrate_database(load(folder=tmp_path, environment={}))
    with running_wms(tmp_path) as wms:
        match = wms.match()
        assert match
        assert match["JobID"] == 3
        assert StalledJobAgent(wms.context).look() == Looked()
