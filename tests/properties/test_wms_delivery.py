"""Delivery to the WMS: whatever fails in whatever order, each report arrives once and in order."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import FencedError, UnavailableError
from runner.wms.client import WmsClient
from runner.wms.delivery import Delivery
from runner.wms.standing import Naming
from runner.wms.tokens import FixedToken
from telemetry.clock import SystemClock
from telemetry.facts import AttemptEnded, HeartbeatMade, KillRequested, ParametersSet, StatusChanged
from telemetry.journal import Journal
from telemetry.outbox import Acknowledgements
from tests.support.http_faults import FaultyServer, faulty_server
from tests.support.one_job_wms import Fault, OneJobWms

CLAIM = "claim-of-this-execution"
FAULTS: tuple[Fault, ...] = ("", "lost", "reset", "500", "503", "401", "429", "html", "null")


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[FaultyServer, str]]:
    with faulty_server() as both:
        yield both


class Job:
    """A journal that grows, a WMS that fails, and deliverers that come and go."""

    def __init__(self, control: Path, client: WmsClient, wms: OneJobWms, *, in_one: bool = False) -> None:
        self._in_one = in_one
        self.tokens: list[str] = []
        self.journal = Journal(control, "wrapper", SystemClock())
        self.wms = wms
        self.control = control
        self._client = client
        self.delivery = self.new_deliverer()

    def new_deliverer(self) -> Delivery:
        """As after the death of the one before."""
        self.delivery = Delivery(self.control, self._client, job_id=7, clock=SystemClock())
        if self._in_one:
            self.delivery.report_in_one(Naming(CLAIM, self.tokens.append))
        return self.delivery

    def push(self) -> bool:
        """One try; whether nothing is left."""
        self.delivery.collect()
        try:
            self.delivery.push(last=True)
        except UnavailableError:
            return False
        except FencedError as error:
            self.delivery.fence(str(error))
        return self.delivery.is_empty

    def finish(self) -> bool:
        """Try until nothing is left, as long as failures may be the reason."""
        return any(self.push() for _ in range(2 * len(self.wms.faults) + 2))


@contextmanager
def job(server: tuple[FaultyServer, str], wms: OneJobWms, *, in_one: bool = False) -> Iterator[Job]:
    faulty, url = server
    faulty.handler = wms.handle
    client = WmsClient(url, FixedToken("token-of-the-job"), timeout_seconds=5.0)
    with tempfile.TemporaryDirectory() as folder:
        made = Job(Path(folder), client, wms, in_one=in_one)
        try:
            yield made
        finally:
            made.journal.close()
            client.close()


STEPS = st.lists(st.sampled_from(["status", "parameter", "heartbeat", "push", "die", "poison"]), max_size=12)


def act(made: Job, step: str, number: int) -> None:
    """One step of a story."""
    match step:
        case "status":
            made.journal.append(StatusChanged(status="Running", minor_status=f"step {number}"))
        case "poison":
            made.journal.append(StatusChanged(minor_status="poison"))
        case "parameter":
            made.journal.append(ParametersSet(parameters={"last": number}))
        case "heartbeat":
            made.journal.append(HeartbeatMade(values={"CPUConsumed": float(number)}))
        case "push":
            made.push()
        case "die":
            made.new_deliverer()


@given(
    steps=STEPS,
    faults=st.lists(st.sampled_from(FAULTS), max_size=12),
    in_one=st.booleans(),
    knows_reports=st.booleans(),
)
def test_each_report_arrives_once_and_in_order(
    server: tuple[FaultyServer, str], steps: list[str], faults: list[Fault], in_one: bool, knows_reports: bool
) -> None:
    """For any interleaving of reports, failures and deaths of the deliverer, the WMS ends up with each status once
    and in order, with the last value of each parameter; what it refuses for ever does not block the rest. So it is
    whether all goes in one call, or by the dialect, or by that because the WMS knows no other."""
    wms = OneJobWms(faults=list(faults), knows_reports=knows_reports)
    with job(server, wms, in_one=in_one) as made:
        for number, step in enumerate(steps):
            act(made, step, number)
        assert made.finish()
        assert list(dict.fromkeys(made.wms.minors)) == [f"step {n}" for n, step in enumerate(steps) if step == "status"]
        last = max((number for number, step in enumerate(steps) if step == "parameter"), default=None)
        assert made.wms.parameters.get("last") == last


@given(faults=st.lists(st.sampled_from(FAULTS), max_size=6), before=st.integers(0, 3), in_one=st.booleans())
def test_nothing_is_reported_after_a_kill(
    server: tuple[FaultyServer, str], faults: list[Fault], before: int, in_one: bool
) -> None:
    """Once the WMS has said Killed, by whatever answer, no further status is accepted or even sent, parameters still
    are, and the kill is acknowledged."""
    with job(server, OneJobWms(faults=list(faults)), in_one=in_one) as made:
        made.journal.append(StatusChanged(status="Running", minor_status="first"))
        assert made.finish()
        made.wms.status = "Killed"
        for number in range(before):
            made.journal.append(StatusChanged(minor_status=f"after {number}"))
        made.journal.append(HeartbeatMade(values={"CPUConsumed": 1.0}))
        assert made.finish()
        sent = len(server[0].seen)
        made.journal.append(StatusChanged(status="Done", minor_status="Execution Complete"))
        made.journal.append(ParametersSet(parameters={"TotalCPUTime(s)": 1}))
        assert made.finish()
        assert made.delivery.standing.killed
        assert made.wms.minors == ["first"]
        assert made.wms.acknowledged[:1] == [5]
        assert made.wms.parameters == {"TotalCPUTime(s)": 1}
        assert "PATCH /api/jobs/status" not in server[0].paths[sent:]
        assert not any(each.body["Statuses"] for each in server[0].seen[sent:] if each.path.endswith("/report"))


@given(faults=st.lists(st.sampled_from(FAULTS), max_size=4), knows_reports=st.booleans(), poison=st.booleans())
def test_an_execution_is_named_before_it_runs(
    server: tuple[FaultyServer, str], faults: list[Fault], knows_reports: bool, poison: bool
) -> None:
    """Whatever is lost, Running is said under the claim of this execution, whose token is then shown; another
    execution of the attempt is fenced off and reports nothing."""
    wms = OneJobWms(faults=list(faults), knows_reports=knows_reports)
    with job(server, wms, in_one=True) as made:
        if poison:
            made.journal.append(ParametersSet(parameters={"poison": 1}))
        made.journal.append(StatusChanged(status="Running", minor_status="first"))
        assert made.finish()
        assert made.tokens[-1:] == [f"token of {CLAIM}"]
        assert made.delivery.standing.running == "accepted"
        wms.claim = "another-execution"
        made.new_deliverer()
        made.journal.append(StatusChanged(minor_status="second"))
        assert made.finish()
        assert made.delivery.standing.fenced
        assert wms.minors == ["first"]


def test_a_moment_is_one_call(server: tuple[FaultyServer, str]) -> None:
    """Statuses, parameters and heartbeat that wait go in one call, with the claim; the next one needs it no more."""
    with job(server, OneJobWms(), in_one=True) as made:
        made.journal.append(StatusChanged(status="Running"))
        made.journal.append(ParametersSet(parameters={"a": 1}))
        made.journal.append(HeartbeatMade(values={"CPUConsumed": 1.0}))
        seen = len(server[0].seen)
        assert made.push()
        made.journal.append(StatusChanged(status="Done"))
        assert made.push()
        calls = server[0].seen[seen:]
        assert [each.path for each in calls] == ["/api/jobspan/jobs/7/report"] * 2
        assert [each.body.get("Claim") for each in calls] == [CLAIM, None]
        assert (made.wms.status, made.wms.parameters, len(made.wms.heartbeats)) == ("Done", {"a": 1}, 1)


def test_a_kill_in_the_journal_silences_the_next_deliverer(server: tuple[FaultyServer, str]) -> None:
    """An agent that takes over a killed job reports no status for it."""
    with job(server, OneJobWms()) as made:
        made.journal.append(KillRequested(origin="user", reason="Received Kill signal"))
        made.journal.append(StatusChanged(status="Done"))
        assert made.push()
        assert made.wms.reported == {}


def test_a_fence_settles_everything(server: tuple[FaultyServer, str]) -> None:
    """When the attempt is not ours any more, what is left is put down as refused and never sent again."""
    with job(server, OneJobWms(fenced=True)) as made:
        made.journal.append(StatusChanged(status="Running"))
        made.journal.append(ParametersSet(parameters={"a": 1}))
        assert made.push()
        calls = len(server[0].seen)
        made.journal.append(StatusChanged(status="Done"))
        assert made.push()
        assert "fenced" in made.delivery.standing.fenced
        assert len(server[0].seen) == calls
        made.new_deliverer()
        assert made.push()
        assert len(server[0].seen) == calls
        acknowledged = Acknowledgements(made.control, "wms-status")
        assert acknowledged.positions == {"wrapper": 3}


def test_a_running_that_is_not_kept_is_noticed(server: tuple[FaultyServer, str]) -> None:
    """A refused transition is HTTP 200; that the WMS keeps another status is seen all the same."""
    with job(server, OneJobWms(status="Done")) as made:
        made.journal.append(StatusChanged(status="Completing"))
        assert made.push()
        text = (made.control / "wms-status.acks.jsonl").read_text()
        assert '"refused"' in text
        assert "keeps Done" in text


def test_the_next_attempt_is_asked_for_once(server: tuple[FaultyServer, str]) -> None:
    """A rescheduled attempt that nobody has asked the successor for is settled by whoever takes over, once."""
    with job(server, OneJobWms()) as made:
        made.journal.append(StatusChanged(status="Rescheduled", minor_status="Going to reschedule job"))
        made.journal.append(AttemptEnded(status="Rescheduled", minor_status="Going to reschedule job"))
        assert made.push()
        assert made.delivery.owes_reschedule
        made.delivery.settle_reschedule()
        assert made.wms.rescheduled == 1
        made.new_deliverer()
        assert made.push()
        made.delivery.settle_reschedule()
        assert made.wms.rescheduled == 1


def test_heartbeats_keep_their_distance(server: tuple[FaultyServer, str]) -> None:
    """Two heartbeats with numbers within a second would be HTTP 500 on DiracX: the second waits, or, when it is the
    last one, goes without its numbers."""
    with job(server, OneJobWms()) as made:
        made.journal.append(HeartbeatMade(values={"CPUConsumed": 1.0, "StandardOutput": "a"}))
        made.push()
        made.journal.append(HeartbeatMade(values={"CPUConsumed": 2.0, "StandardOutput": "b"}))
        made.delivery.collect()
        made.delivery.push()
        assert not made.delivery.is_empty
        made.delivery.push(last=True)
        assert made.wms.heartbeats == [{"CPUConsumed": 1.0, "StandardOutput": "a"}, {"StandardOutput": "b"}]
