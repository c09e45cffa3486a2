"""What would be lost when agent and WMS fall silent at the wrong moment: matches, and the WMS's word on an end."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.agent.folders import JobFolder, Pilot
from runner.agent.last_word import last_word
from runner.errors import UnavailableError
from runner.wms.client import WmsClient
from runner.wms.tokens import FixedToken
from telemetry.clock import SystemClock
from telemetry.facts import AttemptEnded, StatusChanged
from telemetry.journal import Journal
from telemetry.outbox import Acknowledgements
from tests.support.http_faults import FaultyServer, faulty_server
from tests.support.one_job_wms import OneJobWms
from tests.support.small_agent import DEADLINE_SECONDS, agent
from tests.support.waiting import eventually
from tests.support.wms import RunningWms, running_wms

FAILED = AttemptEnded(
    status="Failed", minor_status="JobWrapper execution", error_type="wrapper_died", recorded_by="agent"
)
BACK = AttemptEnded(
    status="Rescheduled", minor_status="Job Wrapper Initialization", error_type="wrapper_died", recorded_by="agent"
)


@pytest.fixture
def wms(tmp_path: Path) -> Iterator[RunningWms]:
    with running_wms(tmp_path) as running:
        yield running


def submit(wms: RunningWms) -> int:
    return wms.submit('Executable = "/bin/true"; JobName = "quick";')


def test_a_match_that_never_arrived_is_given_again(wms: RunningWms) -> None:
    """To the same agent and to the next one in its place, as the same attempt; not to others, not when it is held."""
    job_id = submit(wms)
    first = wms.match(PilotStamp="one", Holding=[])
    again = wms.match(PilotStamp="one", Holding=[])
    next_one = wms.match(PilotStamp="two", EarlierStamps=["zero", "one"], Holding=[])
    assert first
    assert again
    assert next_one
    names = ("JobID", "Attempt", "UID", "Claim")
    assert [[each[name] for name in names] for each in (again, next_one)] == [[first[name] for name in names]] * 2
    assert wms.match(PilotStamp="one", Holding=[]) is None, "it is with the second pilot now"
    assert wms.match(PilotStamp="two", Holding=[{"JobID": job_id, "Attempt": 1}]) is None
    assert wms.match(PilotStamp="two") is None, "who does not say what it holds is told nothing again"
    wms.report(job_id, {"Status": "Matched", "MinorStatus": "Job Received by Agent"}, token=next_one["JobToken"])
    assert wms.match(PilotStamp="two", Holding=[]) is None, "it has arrived"


def test_the_next_agent_asks_for_what_was_lost(wms: RunningWms) -> None:
    """An agent leaves its stamp; the job that was given to it as it died is run by the next one, in attempt 1."""
    place = wms.folder / "agent"
    place.mkdir()
    dead = Pilot.new(place)
    dead.leave_stamp(place)
    job_id = submit(wms)
    assert wms.match(PilotStamp=dead.stamp)
    begun = JobFolder(wms.folder / "jobs" / f"{job_id}.1", job_id, 1)  # and it died over the first fact
    begun.control.mkdir(parents=True)
    (begun.control / "agent.journal.jsonl").write_text('{"v":1,"writer":"ag')
    with agent(wms.folder, wms.url, "drain") as process:
        assert process.wait(DEADLINE_SECONDS) == 0
    assert wms.status(job_id) == ("Done", "Execution Complete")
    assert wms.job(job_id)["RescheduleCounter"] == 0


def test_stamps_do_not_pile_up(tmp_path: Path) -> None:
    """The last ones are kept, the youngest at the end."""
    stamps = []
    for _ in range(30):
        pilot = Pilot.new(tmp_path)
        pilot.leave_stamp(tmp_path)
        stamps.append(pilot.stamp)
    assert Pilot.new(tmp_path).earlier_stamps == tuple(stamps[-20:])


class Asked:
    """An attempt whose end is about to be written, and the WMS that has a say in it."""

    def __init__(self, control: Path, server: tuple[FaultyServer, str], wms: OneJobWms, end: AttemptEnded) -> None:
        server[0].handler = wms.handle
        self.control = control
        self.url = server[1]
        self._end = end
        with Journal(control, "recovery", SystemClock()) as journal:
            journal.append(StatusChanged(status=end.status, minor_status=end.minor_status, source="JobAgent"))

    def word(self) -> AttemptEnded:
        """What the WMS makes of the end."""
        client = WmsClient(self.url, FixedToken("token-of-the-job"), timeout_seconds=20.0)
        (self.control / "job.token").write_text("no token")
        try:
            return last_word(self.control, client, 7, SystemClock(), self._end)
        finally:
            client.close()


@pytest.fixture
def server() -> Iterator[tuple[FaultyServer, str]]:
    with faulty_server() as both:
        yield both


@pytest.mark.parametrize(
    ("wms", "end", "kept"),
    [
        (OneJobWms(), FAILED, ("Failed", "JobWrapper execution", "wrapper_died")),
        (OneJobWms(status="Killed"), FAILED, ("Killed", "Received Kill signal", "killed")),
        (OneJobWms(status="Killed"), BACK, ("Killed", "Received Kill signal", "killed")),
        (OneJobWms(fenced=True), FAILED, ("Rescheduled", "Job Rescheduled", "fenced")),
        (OneJobWms(most_reschedulings=0), BACK, ("Failed", "Maximum of reschedulings reached", "wrapper_died")),
    ],
    ids=["agrees", "was killed", "was killed while it goes back", "has gone on", "has no attempt left"],
)
def test_the_wms_is_asked_before_the_end_is_written(
    tmp_path: Path, server: tuple[FaultyServer, str], wms: OneJobWms, end: AttemptEnded, kept: tuple[str, str, str]
) -> None:
    """The end of an attempt whose wrapper died is what the WMS keeps, as it is for one that ends itself."""
    word = Asked(tmp_path, server, wms, end).word()
    assert (word.status, word.minor_status, word.error_type) == kept
    assert word.recorded_by == "agent"


def test_the_next_attempt_that_we_asked_for_does_not_fence_us_off(
    tmp_path: Path, server: tuple[FaultyServer, str]
) -> None:
    """A recovery that died between the reschedule call and its note: the next one finds the end as it was meant."""
    wms = OneJobWms()
    asked = Asked(tmp_path, server, wms, BACK)
    first = asked.word()
    acknowledged = tmp_path / "wms-status.acks.jsonl"
    lines = acknowledged.read_text().splitlines(keepends=True)
    acknowledged.write_text("".join(line for line in lines if "reschedule" not in line))
    assert asked.word() == first
    assert Acknowledgements(tmp_path, "wms-status").outcome("reschedule") == "accepted"
    assert wms.rescheduled == 1


def test_a_wms_that_does_not_answer_has_no_say(tmp_path: Path, server: tuple[FaultyServer, str]) -> None:
    """The agent hears that at once, and ends the attempt by its own word."""
    with pytest.raises(UnavailableError):
        Asked(tmp_path, server, OneJobWms(faults=["503"] * 10), FAILED).word()


def test_a_job_that_cannot_be_kept_is_not_taken(wms: RunningWms) -> None:
    """While no folder can be made no attempt is spent: the job waits, and is run in attempt 1 when there is room."""
    obstacle = wms.folder / "jobs"
    obstacle.write_text("a file where the folder should be")
    job_id = submit(wms)
    with agent(wms.folder, wms.url) as process:
        log = wms.folder / "agent.log"
        eventually(lambda: "cannot be taken here" in log.read_text(), DEADLINE_SECONDS)
        assert wms.status(job_id) == ("Matched", "Assigned")
        obstacle.unlink()
        eventually(lambda: wms.status(job_id)[0] == "Done", DEADLINE_SECONDS)
        process.terminate()
        assert process.wait(DEADLINE_SECONDS) == 0
    assert wms.job(job_id)["RescheduleCounter"] == 0
