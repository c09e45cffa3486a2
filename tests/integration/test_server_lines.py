"""Few calls of each kind are in threads at once, and no kind waits for another."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests

from runner.server.services.job_manager import JobManager
from runner.server.services.job_monitoring import JobMonitoring
from tests.support.waiting import eventually
from tests.support.wms import RunningWms, running_wms

#: More than there are threads for searches.
CALLERS = 24
DEADLINE_SECONDS = 60.0


@dataclass
class Gate:
    """Holds up whoever comes until it is opened; who is inside, and how many were at once."""

    is_open: threading.Event = field(default_factory=threading.Event)
    mutex: threading.Lock = field(default_factory=threading.Lock)
    inside: int = 0
    most: int = 0

    def shut(self) -> None:
        """From now on."""
        self.is_open.clear()
        self.most = 0

    def pass_through(self) -> None:
        """Come, wait, and go."""
        with self.mutex:
            self.inside += 1
            self.most = max(self.most, self.inside)
        try:
            assert self.is_open.wait(DEADLINE_SECONDS)
        finally:
            with self.mutex:
                self.inside -= 1


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    """Every search and every submission has to pass it."""
    it = Gate()
    for service, name in ((JobMonitoring, "search"), (JobManager, "submit")):
        monkeypatch.setattr(service, name, held_up(getattr(service, name), it))
    return it


def held_up(method: Any, gate: Gate) -> Any:
    """*method* behind the *gate*."""

    def call(*arguments: Any, **named: Any) -> Any:
        gate.pass_through()
        return method(*arguments, **named)

    return call


@pytest.mark.parametrize(
    ("path", "body", "most", "status"),
    [
        pytest.param("/api/jobs/search", {"search": []}, 2, 200, id="searches"),
        pytest.param("/api/jobs/jdl", ['Executable = "/bin/true";'], CALLERS, 201, id="submissions"),
    ],
)
def test_many_slow_calls_hold_up_no_heartbeat(
    tmp_path: Path, gate: Gate, path: str, body: Any, most: int, status: int
) -> None:
    """So many are served at once and the others wait; heartbeats are answered all the while; then all are served."""
    with running_wms(tmp_path) as wms, ThreadPoolExecutor(CALLERS) as callers:
        gate.is_open.set()
        job_id = wms.submit()
        job = wms.match()
        assert job is not None
        gate.shut()
        calls = [callers.submit(call, wms, path, body) for _ in range(CALLERS)]
        try:
            eventually(lambda: gate.inside == most, DEADLINE_SECONDS, "a full line")
            for _ in range(CALLERS):
                answer = wms.call("PATCH", "/api/jobs/heartbeat", {str(job_id): {}}, token=job["JobToken"])
                assert answer.status_code == 200, answer.text
        finally:
            gate.is_open.set()
        found = [each.result(DEADLINE_SECONDS).status_code for each in calls]
    assert found == [status] * CALLERS
    assert gate.most == most


def call(wms: RunningWms, path: str, body: Any) -> requests.Response:
    """As `wms.call`, over a connection of its own."""
    headers = {"Authorization": f"Bearer {wms.user_token}"}
    return requests.post(wms.url + path, json=body, headers=headers, timeout=DEADLINE_SECONDS)
