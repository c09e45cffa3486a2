"""A whole site for end-to-end tests: real WMS, real agent, real wrappers, as a user starts them."""

import json
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from runner.commands.jobs import find
from runner.commands.killing import kill
from runner.commands.packing import JobFile, submit
from runner.compose.kinds import open_client
from runner.compose.reports import AttemptFolder, attempts
from runner.compose.site import LocalSite, Service
from runner.config import Config, load
from runner.job.description import from_mapping
from runner.wms.client import WmsClient
from telemetry.entries import Entry
from telemetry.journal import read_journal
from telemetry.ledger.record import Record
from tests.support.waiting import eventually

DEADLINE_SECONDS = 120.0
#: For one call.
PATIENCE_SECONDS = 60.0
#: Faster than a site would want it: heartbeats and graces of a fraction of a second.
QUICK: Mapping[str, Mapping[str, Any]] = {
    "JobAgent": {"PollingTime": 2.0},
    "JobWrapper": {
        "PollingTime": 0.1, "CheckingTime": 0.5, "MinCheckingTime": 0.1, "KillGracePeriod": 1.0,
        "OrphanGracePeriod": 1.0,
    },
}  # fmt: skip


@dataclass
class Site:
    """What a test does with a site."""

    config: Config
    client: WmsClient
    agent: Service
    wms: Service

    def submit(self, folder: Path | None = None, **description: Any) -> int:
        """Submit one job by DIRAC's keys; files of its input sandbox are looked for in *folder*."""
        where = folder or self.config.folder
        job = JobFile(where / "test.json", from_mapping(description, source="test"), where)
        return submit([job], self.client)[0]

    def job(self, job_id: int) -> dict[str, Any]:
        """The attributes of a job."""
        (row,) = self.client.search(None, [{"parameter": "JobID", "operator": "eq", "value": job_id}])
        return dict(row)

    def status(self, job_id: int) -> tuple[str, str]:
        """Status and minor status."""
        row = self.job(job_id)
        return row["Status"], row["MinorStatus"]

    def kill(self, job_id: int) -> None:
        """Order the job to end, as its user does."""
        (row,) = find(self.client, [job_id])
        assert kill(self.client, row).ordered

    def wait(self, job_id: int, status: str, minor_status: str = "", within_seconds: float = DEADLINE_SECONDS) -> None:
        """Until the job is there."""

        def reached() -> bool:
            now = self.status(job_id)
            return now[0] == status and minor_status in ("", now[1])

        try:
            eventually(reached, within_seconds)
        except AssertionError:
            raise AssertionError(
                f"job {job_id} is {self.status(job_id)}, not {status} / {minor_status}; {self.diagnosis(job_id)}"
            ) from None

    def wait_record(self, job_id: int, attempt: int = 1) -> Record:
        """The record of an attempt, as the WMS holds it, once it does."""

        def found() -> list[Record]:
            rows = [Record(each) for each in self.client.all_accounting(job_id).records]
            return [each for each in rows if each.integer("Attempt") == attempt]

        try:
            return eventually(found, DEADLINE_SECONDS, f"the record of job {job_id}")[0]
        except AssertionError as error:
            raise AssertionError(f"{error}; {self.diagnosis(job_id)}") from None

    def wait_folder(self, job_id: int, attempt: int = 1) -> Path:
        """The folder of an attempt, once there is one."""
        folder = self.config.jobs_folder / f"{job_id}.{attempt}"
        eventually((folder / "control").is_dir, DEADLINE_SECONDS, str(folder))
        return folder

    def wait_fact(self, job_id: int, kind: type[Any], attempt: int = 1) -> Entry:
        """The first fact of *kind* of an attempt, once it is there."""
        control = self.wait_folder(job_id, attempt) / "control"

        def found() -> list[Entry]:
            return [each for each in read_journal(control) if isinstance(each.fact, kind)]

        try:
            return eventually(found, DEADLINE_SECONDS, kind.__name__)[0]
        except AssertionError as error:
            raise AssertionError(f"{error}; {self.diagnosis(job_id)}") from None

    def facts(self, job_id: int, kind: type[Any], attempt: int = 1) -> list[Any]:
        """The facts of *kind* of an attempt."""
        control = self.config.jobs_folder / f"{job_id}.{attempt}" / "control"
        return [each.fact for each in read_journal(control) if isinstance(each.fact, kind)]

    def attempts(self, job_id: int) -> list[AttemptFolder]:
        """The attempts that ran here."""
        return attempts(self.config, job_id)

    def log(self, job_id: int) -> list[tuple[str, str]]:
        """(status, minor status) of the logging info, by time."""
        (row,) = self.client.search(
            ["JobID", "LoggingInfo"], [{"parameter": "JobID", "operator": "eq", "value": job_id}]
        )
        return [(each["Status"], each["MinorStatus"]) for each in row["LoggingInfo"]]

    def diagnosis(self, job_id: int) -> str:
        """What there is to read when a test fails."""
        parts = [f"log {self.log(job_id)}", f"agent: {self.agent.log.read_text()[-1500:]}"]
        parts += [
            f"{path}: {path.read_text()[-2500:]}"
            for path in sorted(self.config.jobs_folder.glob(f"{job_id}.*/control/wrapper.log"))
        ]
        return "\n".join(parts)


@contextmanager
def running_site(folder: Path, slots: int = 1, **tables: Mapping[str, Any]) -> Iterator[Site]:
    """WMS and agent on *folder*, with options by table (JobWrapper={"MaxJobPeekLines": 3}).

    The deadline of a call among them is for agent and wrapper: the test itself asks with more patience.
    """
    with LocalSite(site_config(folder, **tables), slots) as site, closing(patient_client(site.config)) as client:
        yield Site(site.config, client, site.agent, site.wms)


def patient_client(config: Config, token: str = "user") -> WmsClient:
    """A client that waits for a WMS that was held up."""
    return open_client(replace(config, wms=replace(config.wms, timeout_seconds=PATIENCE_SECONDS)), token)


def site_config(folder: Path, **tables: Mapping[str, Any]) -> Config:
    """A configuration file in *folder*: the quick one, with *tables* over it."""
    folder.mkdir(parents=True, exist_ok=True)
    merged = {name: {**QUICK.get(name, {}), **tables.get(name, {})} for name in {*QUICK, *tables}}
    lines = []
    for table, options in merged.items():
        lines.append(f"[{table}]")
        lines += [f"{name} = {json.dumps(value)}" for name, value in options.items()]
    (folder / "jobspan.toml").write_text("\n".join(lines) + "\n")
    return load(folder=folder)
