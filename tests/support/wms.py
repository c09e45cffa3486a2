"""The embedded WMS, real: uvicorn in a thread, on loopback, over SQLite in a folder of the test's."""

import contextlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import requests

from runner.compose.wms_telemetry import WmsTelemetry
from runner.config import Config, load
from runner.server.serve import ServerObserver, running
from runner.server.services.context import ServiceContext
from runner.server.tokens import Identity, Role
from telemetry.clock import Clock, SystemClock

DEADLINE_SECONDS = 60.0
#: The server closes a connection that is idle for some seconds, maybe just while a caller that is held up is about to
#: send its next call there. No connection of a test is idle for so long.
KEEP_SECONDS = 3600


@dataclass
class RunningWms:
    """A WMS that listens, and what one needs to talk to it."""

    url: str
    folder: Path
    user_token: str
    pilot_token: str
    admin_token: str
    context: ServiceContext
    session: requests.Session = field(default_factory=requests.Session)

    def call(
        self, method: str, path: str, body: Any = None, *, token: str | None = "", **more: Any
    ) -> requests.Response:
        """One call with a JSON *body*, as the user unless another *token* is given (None: without any)."""
        headers = {} if token is None else {"Authorization": f"Bearer {token or self.user_token}"}
        headers |= more.pop("headers", {})
        if body is not None:
            more["json"] = body
        return self.session.request(
            method, self.url + path, headers=headers, timeout=DEADLINE_SECONDS, allow_redirects=False, **more
        )

    def submit(self, description: str = 'Executable = "/bin/true";') -> int:
        """Submit one job, which the optimizers then take as far as it gets; its JobID."""
        answer = self.call("POST", "/api/jobs/jdl", [description])
        assert answer.status_code == 201, answer.text
        self.settle()
        return int(answer.json()[0]["JobID"])

    def settle(self) -> None:
        """Until the optimizers are done with all that was submitted."""
        assert self.context.received.settle(DEADLINE_SECONDS), "the optimizers do not get through"

    def match(self, wait_seconds: float = 0.0, **slot: Any) -> dict[str, Any] | None:
        """Ask for a job as a pilot."""
        body = {"PilotStamp": "stamp-1", "Site": "LCG.Test.org", "WaitSeconds": wait_seconds, **slot}
        answer = self.call("POST", "/api/jobspan/match", body, token=self.pilot_token)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] | None = answer.json()["Job"]
        return found

    def job(self, job_id: int) -> dict[str, Any]:
        """All attributes of a job."""
        body = {"search": [{"parameter": "JobID", "operator": "eq", "value": job_id}]}
        row: dict[str, Any] = self.call("POST", "/api/jobs/search", body).json()[0]
        return row

    def status(self, job_id: int) -> tuple[str, str]:
        """Status and minor status of a job."""
        row = self.job(job_id)
        return row["Status"], row["MinorStatus"]

    def logging_info(self, job_id: int) -> list[dict[str, Any]]:
        """The history of a job."""
        body = {
            "parameters": ["JobID", "LoggingInfo"],
            "search": [{"parameter": "JobID", "operator": "eq", "value": job_id}],
        }
        rows: list[dict[str, Any]] = self.call("POST", "/api/jobs/search", body).json()[0]["LoggingInfo"]
        return rows

    def report(self, job_id: int, update: Mapping[str, Any], *, token: str = "", at: datetime | None = None) -> Any:
        """Report one status, of now unless *at* says otherwise; the answer for that job."""
        moment = (at or datetime.now(UTC)).isoformat()
        body = {str(job_id): {moment: {"Source": "JobWrapper", **update}}}
        answer = self.call("PATCH", "/api/jobs/status", body, token=token)
        assert answer.status_code == 200, answer.text
        return answer.json()["success"][str(job_id)]

    def token_for(self, name: str, *roles: Role, group: str = "local_user", vo: str = "local") -> str:
        """A token for anybody."""
        return self.context.mint.login(Identity(name, group, vo, frozenset(roles)), 3600)


@contextlib.contextmanager
def running_wms(
    folder: Path,
    *,
    clock: Clock | None = None,
    database: str = "",
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
    observed: bool = False,
) -> Iterator[RunningWms]:
    """A WMS that serves *folder* (the folder of everything, as `--folder`) from *database* until the block ends.

    With a *clock* of the test's own only the test looks for stalled jobs and cleans: the WMS would do it by the
    machine's time, in the middle of whatever the test does, if that takes long enough.
    *observed*: with its own metrics and spans, as `jobspan wms` has them.
    """
    wms = {"Owner": "alice", "Database": database, **(overrides or {}).get("WMS", {})}
    options = {**(overrides or {}), "WMS": wms}
    config = load(folder=folder, environment={"HOME": str(folder)}, overrides=options)
    observer = WmsTelemetry(config) if observed else None
    with running_config(config, clock or SystemClock(), observer, looks=clock is None) as wms:
        yield wms


@contextlib.contextmanager
def running_config(
    config: Config, clock: Clock, observer: ServerObserver | None = None, *, looks: bool = True
) -> Iterator[RunningWms]:
    """A WMS with that configuration; *looks*: by itself, now and then, for what nobody asks for."""
    listening = threading.Event()
    urls: list[str] = []

    def announce(url: str) -> None:
        urls.append(url)
        listening.set()

    with running(config, clock, announce, observer) as ready:
        ready._server.config.timeout_keep_alive = KEEP_SECONDS
        if not looks:
            ready.watch.stop(0.0)
            ready.cleaning.stop(0.0)
        thread = threading.Thread(target=ready.run, name="wms")
        thread.start()
        try:
            assert listening.wait(DEADLINE_SECONDS), "the WMS does not listen"
            tokens = {name: (config.tokens_folder / f"{name}.token").read_text().strip() for name in _TOKENS}
            wms = RunningWms(urls[0], config.folder, *tokens.values(), context=ready.context)
            wms.session.trust_env = False
            with wms.session:
                yield wms
        finally:
            ready.stop()
            thread.join(DEADLINE_SECONDS)
            assert not thread.is_alive(), "the WMS does not stop"


_TOKENS = ("user", "pilot", "admin")
