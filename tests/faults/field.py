"""A site under fire: real WMS, agent and wrappers, all with their points armed; whoever dies is started again."""

import contextlib
import json
import os
import secrets
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from runner.agent.aftercare import SETTLED
from runner.agent.folders import JobFolder
from runner.commands.packing import JobFile, submit
from runner.config import Config, load
from runner.errors import JobspanError
from runner.job.description import from_mapping
from runner.job.status import FINAL_STATUSES
from runner.wms.client import WmsClient
from telemetry.facts import JobMatched, PayloadStarted
from telemetry.journal import read_journal
from telemetry.outbox import Acknowledgements
from tests.faults import shapes
from tests.faults.naming import last_of, waits_for_payload
from tests.faults.plan import Death, Plan, Shot, Strike, Trial, shot_of
from tests.faults.points import DONE, FOLDER, UNCONNECTED
from tests.faults.relay import Relay
from tests.support.certificates import Certificates
from tests.support.ports import free_port
from tests.support.processes import marked_by
from tests.support.site import patient_client
from tests.support.waiting import eventually

#: Fast, so that many faults fit into minutes; nothing here makes anything safer.
TABLES: Mapping[str, Mapping[str, Any]] = {
    "JobAgent": {"PollingTime": 1.0, "MinDiskSpace": 0},
    "JobWrapper": {
        "PollingTime": 0.1, "CheckingTime": 0.3, "MinCheckingTime": 0.1, "KillGracePeriod": 0.3,
        "OrphanGracePeriod": 0.3, "MinDiskSpace": 0.0,
    },
    "WMS": {"Timeout": 3.0, "MaxRescheduling": 20},
    "Telemetry": {"OTLPTimeout": 1.0},
}  # fmt: skip
START_SECONDS = 90.0
#: How long processes may take to go that have ended all that they had to do.
LEAVING_SECONDS = 20.0


class Service:
    """`wms` or `agent`, armed, as a child; killed with us."""

    def __init__(self, config: Config, arguments: Sequence[str], mark: str, prefix: Sequence[str] = ()) -> None:
        self.name = arguments[0]
        self._told: list[str] = []
        self._log = config.folder / "logs" / f"{self.name}.log"
        self._log.parent.mkdir(parents=True, exist_ok=True)
        command = [*prefix, sys.executable, "-m", "tests.faults.armed", "--folder", str(config.folder), *arguments]
        environment = {**config.environment, "FAULTS_MARK": mark}
        with self._log.open("ab") as errors:
            self.process = subprocess.Popen(
                [*command, "--end-with", str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                process_group=0,
            )

    def await_ready(self) -> bool:
        """Whether it says in time that it is ready; False when it dies before."""
        output = self.process.stdout
        assert output is not None
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            return bool(selector.select(START_SECONDS) and output.readline())

    def stop(self, number: signal.Signals = signal.SIGTERM) -> Death:
        """Ask it to end, and wait."""
        if self.process.poll() is None:
            self.tell(number)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
        code = self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()
        return Death(self.name, self.process.pid, code, tuple(self._told))

    def tell(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._told.append(number.name)
        self.process.send_signal(number)

    @property
    def log(self) -> str:
        """What it said."""
        return self._log.read_text(errors="replace")


class Field:
    """The site. Jobs are submitted one by one, so that their numbers are known before."""

    def __init__(
        self,
        folder: Path,
        slots: int,
        tables: Mapping[str, Mapping[str, Any]],
        port: int,
        prefix: Mapping[str, Sequence[str]],
        certificates: tuple[Certificates, Certificates] | None,
    ) -> None:
        self.folder = folder
        self.mark = secrets.token_hex(8)
        #: How wms and agent have ended.
        self.deaths: list[Death] = []
        self._prefix = prefix
        self.port = port
        self.relay = Relay(port, certificates)
        self.relay.end_wms = self._end_wms
        self.relay.last_fact = self.last_fact
        self.relay.unconnected = self._unconnected
        self.relay.on_done = lambda job_id: (folder / FOLDER / f"{job_id}.1{DONE}").touch()
        (folder / FOLDER).mkdir(parents=True)
        way = {"URL": self.relay.url} | ({"CAFile": str(certificates[0].authority)} if certificates else {})
        tables = {**tables, "WMS": {**way, **tables.get("WMS", {})}}
        merged = {name: {**TABLES.get(name, {}), **tables.get(name, {})} for name in {*TABLES, *tables}}
        lines = []
        for table, options in merged.items():
            lines += [f"[{table}]", *(f"{name} = {json.dumps(value)}" for name, value in options.items())]
        (folder / "jobspan.toml").write_text("\n".join(lines) + "\n")
        self.config = load(folder=folder)
        self._slots = slots
        self._provoked: set[int] = set()
        self._next = 1
        self.wms = self.start("wms")
        self.client: WmsClient = patient_client(self.direct, "admin")
        self.user: WmsClient = patient_client(self.direct, "user")
        shapes.prepare(self.user, folder)
        self.agent: Service | None = None

    @property
    def direct(self) -> Config:
        """The configuration of those who do not go through the relay: ourselves."""
        url = f"http://127.0.0.1:{self.port}"
        return load(folder=self.folder, overrides={"WMS": {"URL": url}})

    def start(self, name: str) -> Service:
        """Start `wms` or `agent`; one that dies while it starts is started again."""
        arguments = ["agent", "--slots", str(self._slots)] if name == "agent" else ["wms"]
        for _ in range(20):
            config = self.config if name == "agent" else self.direct
            service = Service(config, arguments, self.mark, self._prefix.get(name, ()))
            if service.await_ready():
                return service
            self.deaths.append(service.stop())
        raise AssertionError(f"{name} does not start: {service.log[-2000:]}")

    def submit_all(self, trials: Iterable[Trial]) -> dict[int, Trial]:
        """Hand in the jobs of *trials*; none starts before all are there, so that no fault hits the submission."""
        with self.relay.matches_held():
            return {self.submit(trial): trial for trial in trials}

    def submit(self, trial: Trial) -> int:
        """Hand in the job of *trial*, its plan first."""
        job_id, self._next = self._next, self._next + 1
        shape = shapes.SHAPES[trial.shape]
        plan = Plan(shape.strikes + trial.strikes)
        (self.folder / FOLDER / f"{job_id}.1.json").write_text(json.dumps(plan.to_json()))
        self.relay.plan(job_id, trial.network)
        waiting = {"Arguments": "wait"} if any(waits_for_payload(each) for each in trial.points) else {}
        description = from_mapping({**shape.description, **waiting, "JobName": f"{trial.shape}"}, source="faults")
        (given,) = submit([JobFile(self.folder / "job.json", description, self.folder)], self.user)
        assert given == job_id
        return job_id

    def run(
        self, jobs: Mapping[int, Trial], patience_seconds: float = 120.0, tick: Callable[[], object] = lambda: None
    ) -> list[int]:
        """Let the agent work until all *jobs* are settled; those that are not when nothing happens for too long.

        Whoever has died is started again; *tick* is called at every look.
        """
        if self.agent is None:
            self.agent = self.start("agent")
        open_ = dict(jobs)
        news = [time.monotonic(), 0]

        def look() -> bool:
            self._revive()
            tick()
            for job_id in list(open_):
                self._provoke(job_id, open_[job_id])
            with contextlib.suppress(JobspanError):
                for job_id in self._final(open_):
                    if self._is_settled(job_id):
                        del open_[job_id]
            events = len(self.deaths) + len(self.relay.done) - len(open_)
            if events != news[1]:
                news[:] = [time.monotonic(), events]
            is_over = not open_ and not self._is_ending(jobs)
            return is_over or time.monotonic() > news[0] + patience_seconds

        eventually(look, 3600.0)
        return list(open_)

    def shots(self, job_id: int) -> list[Shot]:
        """What was carried out on the job."""
        files = sorted((self.folder / FOLDER).glob(f"{job_id}.*.shot"))
        return [shot_of(json.loads(text)) for each in files if (text := each.read_text())]

    def effect(self, job_id: int, strike: Strike) -> str:
        """What the process that was struck saw of it at once."""
        for path in sorted((self.folder / FOLDER).glob(f"{job_id}.*.effect")):
            if shot_of(json.loads(path.with_suffix(".shot").read_text())).strike == strike:
                return path.read_text()
        return ""

    def points(self, attempt: str) -> list[list[str]]:
        """The places that the processes have passed for *attempt*, each with all of its names."""
        path = self.folder / FOLDER / f"{attempt}.points"
        return [line.split("\t") for line in path.read_text().splitlines()] if path.exists() else []

    def folders(self, job_id: int) -> list[JobFolder]:
        """The attempts of the job on this node."""
        return [each for each in JobFolder.all(self.config.jobs_folder) if each.job_id == job_id]

    def survivors(self) -> list[str]:
        """Processes of the site that do not go; its services apart, there must be none."""
        with contextlib.suppress(AssertionError):
            eventually(lambda: not self._living(), LEAVING_SECONDS)
        return self._living()

    def _living(self) -> list[str]:
        ours = {each.process.pid for each in (self.wms, self.agent) if each and each.process.poll() is None}
        found = marked_by(self.mark.encode(), self.folder)
        return [f"{each.pid} {each.command[:80]}" for each in found if each.pid not in ours]

    def stop_agent(self) -> None:
        """End the agent in order."""
        agent, self.agent = self.agent, None
        if agent:
            self.deaths.append(agent.stop())

    def close(self) -> None:
        """End everything."""
        self.relay.down.clear()
        self.stop_agent()
        self.client.close()
        self.user.close()
        self.wms.stop()
        self.relay.close()

    def _end_wms(self, number: str) -> None:
        """Called by the relay: the main thread starts it again."""
        self.wms.tell(signal.Signals[number])
        self.wms.process.wait(60)

    def _unconnected(self) -> Sequence[str]:
        path = self.folder / FOLDER / UNCONNECTED
        return path.read_text().splitlines() if path.exists() else ()

    def last_fact(self, *job_ids: int, before_ns: int | None = None) -> str:
        """The newest fact in the journals of *job_ids*, of all jobs without any; or that before a moment."""
        folders = [each for each in JobFolder.all(self.config.jobs_folder) if not job_ids or each.job_id in job_ids]
        return last_of((entry for folder in folders for entry in read_journal(folder.control)), before_ns)

    def _revive(self) -> None:
        if self.wms.process.poll() is not None:
            self.deaths.append(self.wms.stop())
            self.wms = self.start("wms")
        if self.agent and self.agent.process.poll() is not None:
            self.deaths.append(self.agent.stop())
            self.agent = self.start("agent")

    def _is_ending(self, jobs: Iterable[int]) -> bool:
        """Whether the WMS or the agent lives that a strike has told to end: who comes next must not rely on it."""
        shots = (shot for job_id in jobs for shot in self.shots(job_id) if shot.strike.what.startswith("SIG"))
        told = {pid for shot in shots for pid in shot.pids.values()}
        return any(each is not None and each.process.pid in told for each in (self.wms, self.agent))

    def _provoke(self, job_id: int, trial: Trial) -> None:
        provoke = shapes.SHAPES[trial.shape].provoke
        if provoke is None or job_id in self._provoked:
            return
        entries = [each for folder in self.folders(job_id)[:1] for each in read_journal(folder.control)]
        if any(isinstance(each.fact, PayloadStarted) for each in entries):
            with contextlib.suppress(JobspanError):
                provoke(self.user, job_id)
                self._provoked.add(job_id)

    def statuses(self, jobs: Iterable[int]) -> dict[int, str]:
        """How the WMS says that *jobs* stand: status and minor status."""
        rows = self.client.search(
            ["JobID", "Status", "MinorStatus"],
            [{"parameter": "JobID", "operator": "in", "values": list(jobs)}],
            per_page=1000,
        )
        return {int(str(row["JobID"])): f"{row['Status']} / {row['MinorStatus']}" for row in rows}

    def _final(self, jobs: Iterable[int]) -> list[int]:
        return [job_id for job_id, status in self.statuses(jobs).items() if status.split(" / ")[0] in FINAL_STATUSES]

    def _is_settled(self, job_id: int) -> bool:
        return all(_is_settled(folder.control) for folder in self.folders(job_id))


def _is_settled(control: Path) -> bool:
    if not (control / SETTLED).exists():
        return False
    uids = [entry.fact.uid for entry in read_journal(control) if isinstance(entry.fact, JobMatched)]
    shipped = Acknowledgements(control, "otlp-file")
    return all(any(item.startswith(uid) for item in shipped.settled) for uid in uids)


@contextmanager
def field(
    folder: Path,
    slots: int = 1,
    tables: Mapping[str, Mapping[str, Any]] | None = None,
    prefix: Mapping[str, Sequence[str]] | None = None,
    certificates: tuple[Certificates, Certificates] | None = None,
) -> Iterator[Field]:
    """A site for the length of a campaign."""
    port = free_port()
    given = dict(tables or {})
    given["WMS"] = {"Port": port, **given.get("WMS", {})}
    running = Field(folder, slots, given, port, prefix or {}, certificates)
    try:
        yield running
    finally:
        running.close()
