"""A node that works with a real DiracX server: its folder, the owner's token, and `jobspan` as a user types it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.compose.kinds import open_client
from runner.compose.reports import attempts
from runner.config import Config
from runner.wms.client import WmsClient
from telemetry.facts import PayloadStarted
from telemetry.journal import read_journal
from telemetry.ledger.record import Record
from telemetry.live.otlp_files import OtlpFiles, read_accounting
from tests.support.diracx import RunningDiracx
from tests.support.site import site_config
from tests.support.waiting import eventually

DEADLINE_SECONDS = 120.0


@dataclass
class DiracxSite:
    """What a test does with it."""

    config: Config
    client: WmsClient
    diracx: RunningDiracx

    def command(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """`jobspan` with *arguments*, on this folder."""
        return subprocess.run(
            [sys.executable, "-m", "runner.cli", "--folder", str(self.config.folder), *arguments],
            capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False,
        )  # fmt: skip

    def submit(self, **description: Any) -> int:
        """Submit one job by DIRAC's keys, from a file in the folder."""
        file = self.config.folder / "job.json"
        file.write_text(json.dumps(description))
        done = self.command("submit", "--json", str(file))
        assert done.returncode == 0, done.stderr
        return int(json.loads(done.stdout)[0]["job_id"])

    @contextmanager
    def agent(self, *job_ids: int, **environment: str) -> Iterator["subprocess.Popen[bytes]"]:
        """`jobspan agent --job ...`; it ends by itself, or is told to at the end of the block."""
        named = [part for job_id in job_ids for part in ("--job", str(job_id))]
        command = [sys.executable, "-m", "runner.cli", "--folder", str(self.config.folder), "agent", *named]
        with (self.config.folder / "agent.log").open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **environment})
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(DEADLINE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def run(self, *job_ids: int, **environment: str) -> None:
        """Run these jobs to their end."""
        with self.agent(*job_ids, **environment) as process:
            assert process.wait(DEADLINE_SECONDS) == 0, self.diagnosis()

    def job(self, job_id: int) -> Mapping[str, Any]:
        """The server's row of a job."""
        (row,) = self.client.search(None, [{"parameter": "JobID", "operator": "eq", "value": job_id}])
        return row

    def status(self, job_id: int) -> tuple[str, str]:
        """Status and minor status."""
        row = self.job(job_id)
        return row["Status"], row["MinorStatus"]

    def wait(self, job_id: int, status: str) -> None:
        """Until the job has this status."""
        try:
            eventually(lambda: self.status(job_id)[0] == status, DEADLINE_SECONDS, f"job {job_id} to be {status}")
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {self.status(job_id)}; {self.diagnosis()}") from None

    def wait_payload(self, job_id: int, attempt: int = 1) -> None:
        """Until the payload runs and the server has heard all that the wrapper says of its beginning."""
        control = self.config.jobs_folder / f"{job_id}.{attempt}" / "control"

        def told() -> bool:
            begun = control.is_dir() and any(isinstance(each.fact, PayloadStarted) for each in read_journal(control))
            return begun and ("Running", "Application", "JobWrapper") in self.log(job_id)

        try:
            eventually(told, DEADLINE_SECONDS, f"the payload of job {job_id}")
        except AssertionError as error:
            raise AssertionError(f"{error}; {self.diagnosis()}") from None

    def log(self, job_id: int) -> list[tuple[str, str, str]]:
        """Status, minor status and source of all that the server has logged."""
        return [(each["Status"], each["MinorStatus"], each["Source"]) for each in self._logged(job_id)]

    def times(self, job_id: int) -> list[str]:
        """How all that the server has logged is dated."""
        return [each["StatusTime"] for each in self._logged(job_id)]

    def _logged(self, job_id: int) -> list[dict[str, Any]]:
        (row,) = self.client.search(
            ["JobID", "LoggingInfo"], [{"parameter": "JobID", "operator": "eq", "value": job_id}]
        )
        return list(row["LoggingInfo"])

    def records(self, job_id: int) -> list[Record]:
        """Of the attempts of a job, from their journals."""
        return [each.record for each in attempts(self.config, job_id) if each.record]

    def heartbeats(self, job_id: int) -> bool:
        """Whether the server has heard one."""
        return self.job(job_id)["HeartBeatTime"] is not None

    def events(self) -> list[Record]:
        """The accounting events in the node's OTLP file."""
        return [Record(each.record) for each in read_accounting(OtlpFiles(self.config.telemetry_folder).logs).events]

    def diagnosis(self) -> str:
        """What there is to read when a test fails."""
        logs = [self.config.folder / "agent.log", *sorted(self.config.jobs_folder.glob("*/control/wrapper.log"))]
        return "\n".join(f"{path}: {path.read_text()[-2500:]}" for path in logs if path.exists())


@contextmanager
def diracx_site(
    folder: Path, diracx: RunningDiracx, *, user: str = "alice", **tables: Mapping[str, Any]
) -> Iterator[DiracxSite]:
    """A node of *user*'s in *folder*, with options by table."""
    folder.mkdir(parents=True, exist_ok=True)
    credentials = diracx.credentials(folder / "credentials.json", user)
    wms = {"URL": diracx.url, "Dialect": "diracx", "TokenFile": str(credentials), **tables.get("WMS", {})}
    config = site_config(folder, **{**tables, "WMS": wms})
    client = open_client(config)
    try:
        yield DiracxSite(config, client, diracx)
    finally:
        client.close()
