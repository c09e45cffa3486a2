"""Agents and lone wrappers say where their metrics are: again and again, whatever becomes of the WMS meanwhile."""

import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from runner.compose import lone
from runner.compose.lone import LoneJob, OwnMetrics
from runner.config import load
from runner.wms.client import WmsClient
from runner.wms.discovery import Announcement, MetricsTarget
from runner.wms.tokens import FileToken, FixedToken
from telemetry.clock import NANOSECONDS, SystemClock
from telemetry.live.exposition import is_within_reach
from tests.support.attempts import Attempt
from tests.support.ports import free_port
from tests.support.waiting import eventually
from tests.support.wms import RunningWms, running_wms

TARGET = MetricsTarget(port=9411, role="agent", stamp="stamp", site="LCG.Test.org")
#: Short, so that it is said again within the test; and long enough for a machine that stands still for seconds.
LIFE_SECONDS = 12.0
SHORT = {"WMS": {"TargetTime": LIFE_SECONDS}}


def expiry(wms: RunningWms) -> int:
    """When the target leaves the list; 0: it is not in it."""
    with wms.context.databases.read() as transaction:
        return max((row["ExpiryTime"] for row in transaction.targets.listed("local", 0)), default=0)


@pytest.fixture
def wms(tmp_path: Path) -> Iterator[RunningWms]:
    """A WMS that forgets targets fast."""
    with running_wms(tmp_path, overrides=SHORT) as running:
        yield running


def announcing(url: str, token: str) -> Announcement:
    """A thread that says where TARGET is."""
    announcement = Announcement(WmsClient(url, FixedToken(token), timeout_seconds=5.0), TARGET)
    announcement.start()
    return announcement


def test_it_is_said_again_and_taken_back_at_the_end(wms: RunningWms) -> None:
    """As long as the agent lives the target is renewed before its time is over; after its end it is gone at once."""
    announcement = announcing(wms.url, wms.pilot_token)
    for _ in range(2):
        first = eventually(lambda: expiry(wms))
        second = eventually(lambda first=first: now if (now := expiry(wms)) > first else 0, 30)  # type: ignore[misc]
        assert second - first < LIFE_SECONDS * NANOSECONDS
    announcement.stop()
    assert expiry(wms) == 0


def test_a_wms_that_comes_late_is_told_and_one_that_goes_is_not_waited_for(tmp_path: Path) -> None:
    """An agent that starts before the WMS is found once it is there; its end does not wait for a WMS that went."""
    port = free_port()
    token = tmp_path / "tokens" / "pilot.token"
    client = WmsClient(f"http://127.0.0.1:{port}", FileToken(token), timeout_seconds=60.0)
    token.parent.mkdir()
    token.write_text("of a WMS of before")
    announcement = Announcement(client, TARGET)
    announcement.start()
    with running_wms(tmp_path, overrides={"WMS": {**SHORT["WMS"], "Port": port}}) as wms:
        eventually(lambda: expiry(wms), 90)  # the pauses between the tries grow with the time that the WMS takes

    begun = time.monotonic()
    announcement.stop()
    assert time.monotonic() - begun < 20.0  # nobody waits for as long as a call may take


def test_who_may_not_say_it_goes_on_without(wms: RunningWms, caplog: pytest.LogCaptureFixture) -> None:
    """A token that is no pilot's is refused, once and in words; nothing else comes of it."""
    with caplog.at_level(logging.INFO, "jobspan.discovery"):
        announcement = announcing(wms.url, wms.user_token)
        eventually(lambda: caplog.messages)
        announcement.stop()
    assert [each for each in caplog.messages if "Prometheus will not find" in each] == caplog.messages
    assert len(caplog.messages) == 1
    assert expiry(wms) == 0


@pytest.mark.parametrize(
    ("host", "url", "expected"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000", True),
        ("::1", "http://localhost:8000", True),
        ("127.0.0.1", "https://[::1]:8000", True),
        ("127.0.0.1", "https://wms.example.org", False),
        ("0.0.0.0", "https://wms.example.org", True),
        ("localhost", "https://127.example.org", False),
    ],
)
def test_metrics_on_loopback_are_told_to_a_wms_there_only(host: str, url: str, expected: bool) -> None:
    """Elsewhere the WMS would send Prometheus to a port of its own machine."""
    assert is_within_reach(host, url) == expected


def lone_job(folder: Path, wms_url: str = "http://127.0.0.1:9", **tables: dict[str, object]) -> LoneJob:
    """A job that has begun, on a folder without an agent."""
    control = folder / "jobs" / "7.1" / "control"
    attempt = Attempt(control, SteadyClock())
    attempt.begin()
    attempt.sample(user=1.0)
    attempt.close()
    return LoneJob(
        config=load(folder=folder, environment={}, overrides=tables),
        control=control,
        wms_url=wms_url,
        job_id=7,
        stamp="stamp",
        clock=SystemClock(),
    )


class SteadyClock(SystemClock):
    """The real clock, on which attempts made by hand take no time."""

    def advance(self, seconds: float) -> None:
        """It goes by itself."""


def shown(job: LoneJob) -> str:
    """What the endpoint of the job says, once there is one."""
    url = eventually(lambda: (path := job.control / "metrics.url").exists() and path.read_text().strip(), 20)
    return requests.get(url, timeout=10).text


def test_a_lone_wrapper_shows_its_job_until_an_agent_comes(wms: RunningWms, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its endpoint is in the list as long as the job lives; it shows nothing of the job while an agent does."""
    monkeypatch.setattr(lone, "FIRST_SECONDS", 0.0)
    monkeypatch.setattr(lone, "CALL_SECONDS", 20.0)  # the WMS is a thread of ours
    job = lone_job(wms.folder, wms.url)
    metrics = OwnMetrics.begin(job)
    assert metrics is not None
    assert 'jobspan_job_cpu_seconds{job_id="7"} 1.5' in shown(job)
    eventually(lambda: expiry(wms))
    (wms.folder / "agent").mkdir()
    with agent_on(wms.folder):
        assert '{job_id="' not in shown(job)
    assert 'jobspan_job_cpu_seconds{job_id="7"}' in shown(job)
    metrics.end()
    assert expiry(wms) == 0
    assert not (job.control / "metrics.url").exists()


def test_a_short_job_costs_nothing(tmp_path: Path) -> None:
    """A job that is over before it could be scraped has no endpoint, and its end waits for nothing."""
    job = lone_job(tmp_path)
    metrics = OwnMetrics.begin(job)
    assert metrics is not None
    metrics.end()
    assert not metrics.is_alive()
    assert [path.name for path in job.control.glob("metrics*")] == []


def test_metrics_of_a_lone_wrapper_can_be_off(tmp_path: Path) -> None:
    """Without MetricsFlag, without gauges of jobs, and where an agent lives there are none."""
    for number, tables in enumerate(({"JobWrapper": {"MetricsFlag": False}}, {"JobAgent": {"MaxJobGauges": 0}})):
        assert OwnMetrics.begin(lone_job(tmp_path / str(number), **tables)) is None  # type: ignore[arg-type]
    (tmp_path / "agent").mkdir()
    job = lone_job(tmp_path)
    with agent_on(tmp_path):
        assert OwnMetrics.begin(job) is None


def test_without_a_pilot_s_token_a_lone_wrapper_is_only_not_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever runs a wrapper by hand has its metrics on the machine, and no error."""
    monkeypatch.setattr(lone, "FIRST_SECONDS", 0.0)
    monkeypatch.setattr(lone, "CALL_SECONDS", 20.0)
    job = lone_job(tmp_path)
    metrics = OwnMetrics.begin(job)
    assert metrics is not None
    assert 'jobspan_job_wall_seconds{job_id="7"}' in shown(job)
    metrics.end()
    assert not metrics.is_alive()


@contextmanager
def agent_on(folder: Path) -> Iterator[None]:
    """Another process that holds the lock of the agent."""
    code = "import sys; from pathlib import Path; from runner.locks import FileLock; "
    code += "lock = FileLock.take(Path(sys.argv[1])); print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(folder / "agent" / "agent.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == b"\n"
        try:
            yield
        finally:
            process.stdin.close()
