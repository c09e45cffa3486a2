"""Every way in which deliveries are lost elsewhere without a word, against real servers on loopback.

Losses of the OpenTelemetry SDK that were reproduced, and the test that holds each off here:

* the collector refuses connections, and more ends than the queue holds:
  test_a_queue_that_overflows_while_the_collector_is_away
* a black hole holds up the exit for 30 s, and a flush says True:
  test_a_stop_is_bounded_and_does_not_call_lost_delivered
* 302, 200 with HTML, 401, 500, 503 are a success or dropped: test_live_http: test_what_may_pass_is_tried_again
* partial_success is not read: test_live_http: test_a_partial_rejection_is_no_success
* 400 and 413 lose a whole batch without a trace: test_live_shipper:
  test_spans_that_are_refused_do_not_keep_the_record; test_outbox_commands (e2e)
* SIGTERM, SIGKILL, os._exit, execv, the child of a fork: test_however_the_process_ends_nothing_is_lost
* a span that is open at the exit: test_live_spans: test_a_dead_wrapper_s_spans_end_with_its_last_sign_of_life
* one item at which the collector stumbles holds up all behind it: test_one_that_fails_does_not_block_the_others
* a lost reply makes copies: test_a_lost_answer_of_the_collector_is_counted

Traps of a DiracX server for a client that delivers, by their numbers:

* 1, a refused transition is HTTP 200: test_a_refused_transition_is_no_success
* 2, 3, order by timestamp, 1 ms steps: test_a_reopened_status_keeps_its_place,
  test_what_diracx_has_only_logged_is_said_again, test_wms_parts: test_timestamps_rise_by_two_milliseconds_at_least
* 5, a status dated before the match breaks the history: test_no_status_is_dated_before_the_match
* 4, a clock that is ahead: test_wms_parts: test_a_real_offset_is_found_and_narrowed_down
* 6, two heartbeats in a second are HTTP 500: test_wms_delivery: test_heartbeats_keep_their_distance
* 7, Kill is told once, a status answer is the second signal: test_wms_delivery: test_nothing_is_reported_after_a_kill
* 8, HTTP 500 for two updates of a killed job in a second: test_a_500_is_tried_again
* 9, too long texts are HTTP 500: test_wms_client: test_long_texts_are_cut_to_what_databases_hold
* 11, a refused reschedule, the maximum as HTTP 400: test_wms_client: test_a_refused_reschedule_is_an_answer,
  test_what_makes_a_job_reschedulable_is_not_only_logged
* 10, every report moves HeartBeatTime: test_server_stalled: test_every_kind_of_report_is_a_sign_of_life
* 12, any report wakes a Stalled job: test_server_state_machine: test_any_accepted_update_wakes_a_stalled_job,
  test_stalled (e2e): test_a_job_that_comes_back_in_time_goes_on
"""

import contextlib
import gzip
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from runner.compose.records import Records
from runner.config import HttpConfig
from runner.errors import UnavailableError
from runner.wms.client import WmsClient
from runner.wms.delivery import SINK, Delivery
from runner.wms.diracx.attempt import DiracxAttemptClient
from runner.wms.diracx.credentials import Credentials
from runner.wms.diracx.descriptions import Descriptions
from runner.wms.tokens import FileToken, FixedToken
from telemetry.clock import NANOSECONDS, SystemClock, parse_utc, utc_text
from telemetry.facts import StatusChanged
from telemetry.journal import Journal, read_journal
from telemetry.ledger.builder import build
from telemetry.ledger.deliver import SINK as ACCOUNTING
from telemetry.live.otlp_files import OtlpFiles
from telemetry.live.otlp_http import OtlpHttp
from telemetry.live.shipper import Shipper
from telemetry.live.shipping import Shipping
from telemetry.outbox import OTLP_DELIVERER, Acknowledgements, entry_name, last_try
from tests.support.attempts import job_matched, play, uid_of
from tests.support.collector import Collector, collector
from tests.support.http_faults import RESET, FaultyServer, Seen, black_hole, faulty_server, nobody
from tests.support.http_faults import Reply as Answer
from tests.support.one_job_wms import OneJobWms
from tests.support.waiting import at_best, eventually

OTLP = {"Content-Type": "application/x-protobuf"}


@pytest.fixture
def running() -> Iterator[Collector]:
    """A collector on loopback."""
    with collector() as each:
        yield each


@pytest.fixture
def server() -> Iterator[tuple[FaultyServer, str]]:
    with faulty_server() as both:
        yield both


def control_of(folder: Path, job_id: int = 7) -> Path:
    return folder / "jobs" / f"{job_id}.1" / "control"


def shipper_to(folder: Path, endpoint: str, queue_limit: int = 1024, timeout_seconds: float = 20.0) -> Shipper:
    """The agent's, with what an earlier one has left."""
    http = OtlpHttp.at(endpoint, timeout_seconds=timeout_seconds)
    shipping = Shipping(OtlpFiles(folder / "telemetry"), http)
    return Shipper(shipping, build, jobs_folder=folder / "jobs", queue_limit=queue_limit)


def owed(folder: Path, job_id: int = 7) -> bool:
    """Whether the collector has not taken the attempt."""
    return not Acknowledgements(control_of(folder, job_id), "otlp-http").outcomes


# --- the collector --------------------------------------------------------------------------------


def test_a_queue_that_overflows_while_the_collector_is_away(tmp_path: Path, running: Collector) -> None:
    """Of sixty attempts that end while nobody listens, with a queue for four, every one arrives when somebody does."""
    away = shipper_to(tmp_path, nobody(), queue_limit=4)
    for job_id in range(1, 61):
        play(control_of(tmp_path, job_id), job_id=job_id)
        away.submit(control_of(tmp_path, job_id))
    away.start()
    assert away.stop(60)
    assert all(owed(tmp_path, job_id) for job_id in range(1, 61))
    back = shipper_to(tmp_path, running.endpoint, queue_limit=4)
    back.start()
    eventually(lambda: len(set(running.uids())) == 60, 60)
    assert back.stop(60)
    assert not any(owed(tmp_path, job_id) for job_id in range(1, 61))


def test_a_stop_is_bounded_and_does_not_call_lost_delivered(tmp_path: Path) -> None:
    """With a collector that never answers a stop takes one timeout and not 30 s, and what was not taken is owed."""
    at_best(5.0, lambda number: stopped_after_seconds(tmp_path / str(number)))


def stopped_after_seconds(folder: Path) -> float:
    """How long a stop takes while the collector does not answer."""
    with black_hole() as url:
        shipper = shipper_to(folder, url, timeout_seconds=0.3)
        play(control_of(folder))
        shipper.submit(control_of(folder))
        shipper.start()
        eventually(lambda: last_try(control_of(folder), OTLP_DELIVERER), 30)
        begun = time.monotonic()
        assert shipper.stop(30)
        elapsed = time.monotonic() - begun
        assert shipper.pending()["otlp-http"] == 1
        assert owed(folder)
    waits = last_try(control_of(folder), OTLP_DELIVERER)
    assert waits is not None
    assert "no answer from the collector" in waits.reason
    return elapsed


CHILD = """
import os, signal, sys
from pathlib import Path
from tests.support.attempts import play
how, control = sys.argv[1], Path(sys.argv[2])
if how == "fork" and os.fork() > 0:
    os.wait()
    os._exit(0)
play(control)
match how:
    case "SIGTERM" | "SIGKILL":
        os.kill(os.getpid(), getattr(signal, how))
    case "execv":
        os.execv("/bin/true", ["true"])
    case _:
        os._exit(0)
"""


@pytest.mark.parametrize("how", ["SIGTERM", "SIGKILL", "os._exit", "execv", "fork"])
def test_however_the_process_ends_nothing_is_lost(tmp_path: Path, running: Collector, how: str) -> None:
    """A process that dies right after its last fact has nothing to flush: whoever scans the folders ships it."""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", CHILD, how, str(control_of(tmp_path))], cwd=root, timeout=30)
    assert done.returncode == (-getattr(signal, how) if how.startswith("SIG") else 0)
    shipper = shipper_to(tmp_path, running.endpoint)
    shipper.start()
    eventually(lambda: not owed(tmp_path), 30)
    assert shipper.stop(30)
    assert running.uids() == [uid_of()]


def test_one_that_fails_does_not_block_the_others(tmp_path: Path, server: tuple[FaultyServer, str]) -> None:
    """An attempt at which the collector stumbles each time (500) waits alone; those behind it arrive."""
    faulty, url = server
    poison = control_of(tmp_path, 1)

    def stumble(seen: Seen) -> Answer:
        is_poison = uid_of(1).encode() in gzip.decompress(seen.content)
        return Answer(500, b"") if is_poison else Answer(200, b"", OTLP)

    faulty.handler = stumble
    for job_id in (1, 2, 3):
        play(control_of(tmp_path, job_id), job_id=job_id)
    shipper = shipper_to(tmp_path, url)
    shipper.start()
    eventually(lambda: not owed(tmp_path, 2) and not owed(tmp_path, 3), 30)
    assert shipper.stop(30)
    assert owed(tmp_path, 1)
    waits = last_try(poison, OTLP_DELIVERER)
    assert waits is not None
    assert waits.reason == "the collector answered 500"


def test_a_lost_answer_of_the_collector_is_counted(tmp_path: Path, server: tuple[FaultyServer, str]) -> None:
    """A batch that may have arrived is sent again, with the same ids, and counted as a copy; a refused one is none."""
    faulty, url = server
    good = Answer(200, b"", OTLP)
    faulty.script(Answer(503, b""), RESET, good)
    play(control_of(tmp_path))
    shipping = Shipping(OtlpFiles(tmp_path / "telemetry"), OtlpHttp.at(url, timeout_seconds=20.0))
    record = build(read_journal(control_of(tmp_path)))
    outcomes = [shipping.ship(control_of(tmp_path), record).http for _ in range(3)]
    assert outcomes == ["retry", "retry", "accepted"]
    assert Acknowledgements(control_of(tmp_path), "otlp-http").copies == 1


# --- the WMS --------------------------------------------------------------------------------------


class Told:
    """One job whose statuses are delivered to a WMS that may fail."""

    def __init__(self, folder: Path, url: str) -> None:
        self.control = folder / "control"
        self.control.mkdir()
        self.client = WmsClient(url, FixedToken("token-of-the-job"), timeout_seconds=20.0)
        self.journal = Journal(self.control, "wrapper", SystemClock())

    def delivery(self) -> Delivery:
        """A new deliverer that has read the journal."""
        made = Delivery(self.control, self.client, job_id=7, clock=SystemClock())
        made.collect()
        return made

    def acknowledgements(self) -> Acknowledgements:
        """What the WMS has taken."""
        return Acknowledgements(self.control, SINK)


@pytest.fixture
def told(tmp_path: Path, server: tuple[FaultyServer, str]) -> Iterator[Told]:
    made = Told(tmp_path, server[1])
    yield made
    made.journal.close()
    made.client.close()


def test_a_refused_transition_is_no_success(told: Told, server: tuple[FaultyServer, str]) -> None:
    """HTTP 200 with another status than ours is put down as refused, with what the WMS keeps; it is not repeated."""
    wms = OneJobWms(status="Done", minor="Execution Complete")
    server[0].handler = wms.handle
    told.journal.append(StatusChanged(status="Failed", minor_status="too late"))
    told.delivery().push()
    lines = (told.control / f"{SINK}.acks.jsonl").read_text()
    assert '"outcome":"refused"' in lines
    assert "the WMS keeps Done" in lines
    assert told.delivery().is_empty
    assert told.acknowledgements().dead == {}


def owners(folder: Path, url: str) -> DiracxAttemptClient:
    """The client of attempt 1, with the token of the job's owner."""
    (folder / "token").write_text("token-of-the-owner\n")
    owner = Credentials(folder / "token", url, http=HttpConfig(), timeout_seconds=20.0, clock=SystemClock())
    return DiracxAttemptClient(url, owner, Descriptions(folder / "diracx"), attempt=1)


@pytest.mark.parametrize(("status", "before"), [("Running", "Matched"), ("Done", "Running")])
def test_what_diracx_has_only_logged_is_said_again(
    tmp_path: Path, server: tuple[FaultyServer, str], status: str, before: str
) -> None:
    """Status null means that DiracX has something dated later: it is looked at, and our report is dated after that,
    once; a repetition of what DiracX keeps is not said again."""
    newest = utc_text(SystemClock().utc_ns() + 60 * NANOSECONDS)
    wms = OneJobWms(status=before, newest=newest)
    server[0].handler = wms.handle
    client = owners(tmp_path, server[1])
    with Journal(tmp_path, "wrapper", SystemClock()) as journal:
        journal.append(StatusChanged(status=status, minor_status="said"))
    for calls in (2, 3):
        delivery = Delivery(tmp_path, client, job_id=7, clock=SystemClock())
        delivery.collect()
        delivery.push()
        assert (wms.status, wms.minors) == (status, ["said"])
        assert min(wms.reported) > newest
        assert delivery.is_empty
        assert delivery.standing.kept is not None
        assert delivery.standing.kept.status == status
        assert server[0].paths.count("PATCH /api/jobs/status") == calls
        (tmp_path / f"{SINK}.acks.jsonl").unlink()
    client.close()


@pytest.mark.parametrize("is_deaf", [False, True])
def test_what_makes_a_job_reschedulable_is_not_only_logged(
    tmp_path: Path, server: tuple[FaultyServer, str], is_deaf: bool
) -> None:
    """From Completing a job goes back by way of Failed and Rescheduled; when DiracX has only logged these, they are
    said again, dated after its newest. Until it has taken them the reschedule call, which would count and change
    nothing, is not made."""
    newest = utc_text(SystemClock().utc_ns() + 60 * NANOSECONDS)
    wms = OneJobWms(status="Completing", newest=newest, faults=["null"] * (100 if is_deaf else 0))
    server[0].handler = wms.handle
    with contextlib.closing(owners(tmp_path, server[1])) as client:
        if is_deaf:
            with pytest.raises(UnavailableError, match="only logged"):
                client.reschedule([7])
        else:
            assert 7 in client.reschedule([7]).succeeded
    said = [wms.reported[moment]["Status"] for moment in sorted(wms.reported)]
    assert (said, wms.rescheduled) == (([], 0) if is_deaf else (["Failed", "Rescheduled"], 1))
    assert all(moment > newest for moment in wms.reported)
    assert server[0].paths.count("PATCH /api/jobs/status") == 2


def test_no_status_is_dated_before_the_match(told: Told, server: tuple[FaultyServer, str]) -> None:
    """However far a node's clock is behind, all that it reports is dated after the match by the WMS's clock."""
    wms = OneJobWms()
    server[0].handler = wms.handle
    ahead_ns = SystemClock().utc_ns() + 3600 * NANOSECONDS
    told.journal.append(job_matched(match_end_utc_ns=ahead_ns, clock_offset_seconds=0.0))
    told.journal.append(StatusChanged(minor_status="Submitting To CE"))
    told.journal.append(StatusChanged(status="Running", minor_status="payload"))
    told.delivery().push()
    assert wms.minors == ["Submitting To CE", "payload"]
    assert parse_utc(min(wms.reported)) > ahead_ns


def test_a_reopened_status_keeps_its_place(told: Told, server: tuple[FaultyServer, str]) -> None:
    """A status that was dead and is taken later does not overtake: it has its own time, and later ones stay the last;
    between the two it blocks nobody."""
    wms = OneJobWms(poison="second")
    server[0].handler = wms.handle
    for minor in ("first", "second", "third"):
        told.journal.append(StatusChanged(minor_status=minor))
    told.delivery().push()
    assert wms.minors == ["first", "third"]
    (dead,) = told.acknowledgements().dead
    assert dead == entry_name(read_journal(told.control)[1])
    told.journal.append(StatusChanged(minor_status="fourth"))
    wms.poison = "nothing"
    assert told.acknowledgements().reopen(dead)
    again = told.delivery()
    again.push()
    assert again.is_empty
    assert wms.minors == ["first", "second", "third", "fourth"]
    assert told.delivery().is_empty
    assert told.acknowledgements().dead == {}


def test_a_reopened_final_status_reverses_nothing(told: Told, server: tuple[FaultyServer, str]) -> None:
    """An old Running that is tried again after Done is refused by the WMS, and settled by that."""
    wms = OneJobWms(poison="payload")
    server[0].handler = wms.handle
    told.journal.append(StatusChanged(status="Running", minor_status="payload"))
    told.journal.append(StatusChanged(status="Done", minor_status="Execution Complete"))
    told.delivery().push()
    (dead,) = told.acknowledgements().dead
    told.acknowledgements().reopen(dead)
    told.delivery().push()
    assert (wms.status, wms.minors) == ("Done", ["Execution Complete"])
    assert told.delivery().is_empty


def test_lost_answers_of_the_wms_are_counted(told: Told, server: tuple[FaultyServer, str]) -> None:
    """Each status that is sent again because an answer was lost is one copy on the wire, and one status at the WMS."""
    wms = OneJobWms(faults=["lost"])
    server[0].handler = wms.handle
    told.journal.append(StatusChanged(status="Running", minor_status="payload"))
    told.delivery().push()
    assert len(server[0].seen) == 2
    assert wms.minors == ["payload"]
    assert told.acknowledgements().copies == 1
    told.journal.append(StatusChanged(minor_status="later"))
    told.delivery().push()
    assert told.acknowledgements().copies == 1


def test_a_500_is_tried_again(told: Told, server: tuple[FaultyServer, str]) -> None:
    """An inner error of the server, as two updates of a killed job in one second are on MySQL, is no refusal."""
    wms = OneJobWms(faults=["500"])
    server[0].handler = wms.handle
    told.journal.append(StatusChanged(minor_status="first"))
    delivery = told.delivery()
    with pytest.raises(Exception, match="HTTP 500"):
        delivery.push()
    assert not delivery.is_empty
    delivery.push()
    assert (wms.minors, told.acknowledgements().copies) == (["first"], 0)


def _inserted(outcome: str) -> Answer:
    result = {"UID": uid_of(), "RecordedBy": "wrapper", "Revision": 1, "Outcome": outcome, "Detail": "another body"}
    return Answer(200, {"Results": [result]})


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (_inserted("inserted"), "accepted"),
        (_inserted("duplicate"), "accepted"),
        (_inserted("conflict"), "dead"),
        (_inserted("perhaps"), None),
        (Answer(422, {"detail": "no record"}), "dead"),
        (Answer(200, {"Results": []}), None),
        (Answer(200, b"<html>please log in</html>", {"Content-Type": "text/html"}), None),
        (Answer(302, b"", {"Location": "/login"}), None),
        (Answer(401, {"detail": "Invalid JWT"}), None),
        (Answer(408, {"detail": "too slow"}), None),
        (Answer(429, {"detail": "slowly"}), None),
        (Answer(500, b"", {"Content-Type": "text/plain"}), None),
        (RESET, None),
    ],
    ids=lambda value: f"{value.status} {str(value.body)[-30:]}{value.ending}" if isinstance(value, Answer) else None,
)
def test_a_record_is_delivered_when_the_wms_says_so(
    tmp_path: Path, server: tuple[FaultyServer, str], answer: Answer, outcome: str | None
) -> None:
    """Only an answer that names the record as held settles it; what may pass leaves it pending, the rest is dead."""
    server[0].script(answer)
    control = control_of(tmp_path)
    play(control)
    client = WmsClient(server[1], FixedToken("token-of-the-pilot"), timeout_seconds=20.0)
    assert Records(deadline_seconds=0.0).deliver(control, client) == (outcome is not None)
    client.close()
    record = build(read_journal(control))
    assert record is not None
    acknowledgements = Acknowledgements(control, ACCOUNTING)
    assert acknowledgements.outcome(record.key.item) == outcome
    assert acknowledgements.copies == (1 if answer.body and "duplicate" in str(answer.body) else 0)


@pytest.mark.parametrize(("text", "least", "most"), [("7", 7, 7), ("in 90 s", 80, 90), ("soon", 0, 0)])
def test_the_wish_of_the_wms_reaches_who_waits(
    tmp_path: Path, server: tuple[FaultyServer, str], text: str, least: float, most: float
) -> None:
    """Retry-After, in seconds or as a date, is told to whoever decides when to try the record again."""
    wish = formatdate(SystemClock().utc_ns() / 1e9 + 90, usegmt=True) if text == "in 90 s" else text
    server[0].script(Answer(503, {}, {"Retry-After": wish}))
    play(control_of(tmp_path))
    client = WmsClient(server[1], FixedToken("token-of-the-pilot"), timeout_seconds=20.0)
    records = Records(deadline_seconds=0.0)
    assert not records.deliver(control_of(tmp_path), client)
    client.close()
    assert least <= (records.retry_after_seconds or 0) <= most


def test_a_record_goes_under_the_renewed_token(tmp_path: Path, server: tuple[FaultyServer, str]) -> None:
    """When the pilot's token has run out and its file has a new one, the record is taken in the same delivery."""
    token = tmp_path / "pilot.token"
    token.write_text("old-token-of-the-pilot\n")

    def answer(seen: Seen) -> Answer:
        if seen.headers["Authorization"] == "Bearer new-token-of-the-pilot":
            return _inserted("inserted")
        token.write_text("new-token-of-the-pilot\n")
        os.utime(token, (1, 1))
        return Answer(401, {"detail": "Invalid JWT"})

    server[0].handler = answer
    play(control_of(tmp_path))
    client = WmsClient(server[1], FileToken(token), timeout_seconds=20.0)
    assert Records(deadline_seconds=0.0).deliver(control_of(tmp_path), client)
    client.close()
