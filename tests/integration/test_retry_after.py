"""A server that asks for patience gets it: Retry-After decides when each deliverer tries again."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runner.agent.aftercare import Aftercare
from runner.agent.ports import AgentParts
from runner.compose.outbox import Observer
from runner.compose.records import Records
from runner.computing.inprocess import InProcessComputingElement
from runner.computing.spawners import InterpreterSpawner
from runner.config import Config, load
from runner.errors import UnavailableError
from runner.wms.client import WmsClient
from runner.wms.reporter import Reporter
from runner.wms.tokens import TOKEN_FILE, FileToken, FixedToken
from runner.wrapper.template import write_wrapper
from telemetry.clock import NANOSECONDS, SystemClock
from telemetry.facts import StatusChanged
from telemetry.journal import Journal
from telemetry.ledger.builder import build
from telemetry.live.otlp_files import OtlpFiles
from telemetry.live.otlp_http import OtlpHttp
from telemetry.live.shipper import Shipper
from telemetry.live.shipping import Shipping
from telemetry.outbox import OTLP_DELIVERER, WMS_DELIVERER, last_try
from tests.support.attempts import play
from tests.support.http_faults import FaultyServer, Reply, Seen, faulty_server
from tests.support.one_job_wms import OneJobWms
from tests.support.small_agent import agent
from tests.support.waiting import eventually

ASKED_SECONDS = 300.0
LATER = Reply(503, {}, {"Retry-After": f"{ASKED_SECONDS:.0f}"})


@pytest.fixture
def server() -> Iterator[tuple[FaultyServer, str]]:
    with faulty_server() as both:
        yield both


def assert_asked(control: Path, deliverer: str) -> None:
    """The first try has failed, and the next one is due when the server wants it."""
    eventually(lambda: last_try(control, deliverer), 30)
    tried = last_try(control, deliverer)
    assert tried is not None
    left = (tried.next_utc_ns - SystemClock().utc_ns()) / NANOSECONDS
    assert ASKED_SECONDS / 2 < left <= ASKED_SECONDS


@pytest.fixture
def control(tmp_path: Path) -> Path:
    """An attempt that has ended, and of which nothing was told."""
    folder = tmp_path / "jobs" / "7.1" / "control"
    play(folder)
    with Journal(folder, "recovery", SystemClock()) as journal:
        journal.append(StatusChanged(status="Failed", minor_status="JobWrapper execution"))
    (folder / TOKEN_FILE).write_text("old-token\n")
    return folder


@pytest.fixture
def aftercare(tmp_path: Path, server: tuple[FaultyServer, str]) -> Iterator[Callable[[], None]]:
    """Starts what an agent does for the attempts that it finds."""
    config = load(folder=tmp_path, environment={})
    parts = _parts(config, server[1])
    made = Aftercare(config, parts, SystemClock())
    yield made.start
    made.stop()
    parts.observer.close()
    parts.computing_element.close()
    parts.client.close()


def _parts(config: Config, url: str) -> AgentParts:
    return AgentParts(
        client=WmsClient(url, FixedToken("token-of-the-pilot"), timeout_seconds=20.0),
        job_client=lambda folder: WmsClient(url, FileToken(folder.control / TOKEN_FILE), timeout_seconds=20.0),
        computing_element=InProcessComputingElement(InterpreterSpawner(), slots=1),
        observer=Observer(config),
        records=Records(deadline_seconds=0.0),
        write_wrapper=write_wrapper,
    )


@pytest.mark.parametrize("path", ["/", "/api/jobspan/accounting"], ids=["reports", "record"])
def test_the_agent_delivers_again_when_it_is_asked_to(
    control: Path, server: tuple[FaultyServer, str], aftercare: Callable[[], None], path: str
) -> None:
    """What a wrapper could not deliver, statuses or record, waits as long as the WMS wants."""
    wms = OneJobWms(knows_reports=False)
    server[0].handler = lambda seen: LATER if seen.path.startswith(path) else wms.handle(seen)
    aftercare()
    assert_asked(control, WMS_DELIVERER)


def test_the_agent_renews_a_job_token_that_is_refused(
    control: Path, server: tuple[FaultyServer, str], aftercare: Callable[[], None]
) -> None:
    """A 401 to what the agent delivers for a job is no answer for ever: it goes again, under a new token."""
    wms = OneJobWms(knows_reports=False)

    def answer(seen: Seen) -> Reply:
        if seen.path == "/api/jobspan/jobs/7/token":
            return Reply(200, {"JobToken": "new-token", "JobTokenExpires": "2040-01-01T00:00:00Z"})
        if seen.headers["Authorization"] == "Bearer old-token":
            return Reply(401, {"detail": "Invalid JWT"})
        return wms.handle(seen)

    server[0].handler = answer
    aftercare()
    eventually(lambda: wms.status == "Failed", 30)
    assert (control / TOKEN_FILE).read_text().strip() == "new-token"


def test_the_wrapper_reports_again_when_it_is_asked_to(tmp_path: Path, server: tuple[FaultyServer, str]) -> None:
    """The reporter keeps to it."""
    server[0].script(LATER)
    client = WmsClient(server[1], FixedToken("token-of-the-job"), timeout_seconds=20.0)
    reporter = Reporter(tmp_path, client, job_id=7, clock=SystemClock())
    with Journal(tmp_path, "wrapper", SystemClock()) as journal:
        reporter.wake(journal.append(StatusChanged(status="Running")))
    reporter.start()
    assert_asked(tmp_path, WMS_DELIVERER)
    reporter.stop(0.0)
    client.close()


def test_the_next_attempt_is_asked_for_again_when_the_wms_wants(
    tmp_path: Path, server: tuple[FaultyServer, str]
) -> None:
    """A reschedule call that would be due after the end of our patience is left to the agent at once."""
    wms = OneJobWms()
    server[0].handler = lambda seen: LATER if seen.path.startswith("/api/jobs/reschedule") else wms.handle(seen)
    client = WmsClient(server[1], FixedToken("token-of-the-job"), timeout_seconds=20.0)
    reporter = Reporter(tmp_path, client, job_id=7, clock=SystemClock())
    with Journal(tmp_path, "wrapper", SystemClock()) as journal:
        journal.append(StatusChanged(status="Rescheduled", minor_status="again"))
    reporter.start()
    with pytest.raises(UnavailableError) as caught:
        reporter.close_attempt("Rescheduled", "again", preempted=False, timeout_seconds=60.0)
    assert caught.value.retry_after_seconds == ASKED_SECONDS
    assert sum("reschedule" in each for each in server[0].paths) == 1
    reporter.stop(5.0)
    client.close()


def test_the_shipper_ships_again_when_it_is_asked_to(
    tmp_path: Path, control: Path, server: tuple[FaultyServer, str]
) -> None:
    """A collector's wish counts too."""
    server[0].script(LATER)
    shipping = Shipping(OtlpFiles(tmp_path / "telemetry"), OtlpHttp.at(server[1], timeout_seconds=20.0))
    shipper = Shipper(shipping, build, jobs_folder=tmp_path / "jobs")
    shipper.start()
    assert_asked(control, OTLP_DELIVERER)
    assert shipper.stop(10.0)


def test_the_agent_asks_for_jobs_again_when_it_is_asked_to(tmp_path: Path, server: tuple[FaultyServer, str]) -> None:
    """A matcher that wants two seconds is not asked within them."""
    asked: list[float] = []

    def answer(seen: Seen) -> Reply:
        if seen.path == "/api/jobspan/match":
            asked.append(time.monotonic())
            return Reply(503, {}, {"Retry-After": "2"})
        return Reply(200, {"Commands": []})

    server[0].handler = answer
    (tmp_path / "tokens").mkdir()
    (tmp_path / "tokens" / "pilot.token").write_text("token-of-the-pilot\n")
    with agent(tmp_path, server[1]) as process:
        eventually(lambda: len(asked) >= 2, 40.0)
        process.terminate()
        process.wait(40.0)
    assert asked[1] - asked[0] >= 2.0
