"""A real agent process whose wrappers are small scripts, and whose observer writes down what it is told."""

import logging
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from runner.agent.job_agent import AgentParts, JobAgent
from runner.computing.inprocess import InProcessComputingElement
from runner.computing.zygote import ZygoteSpawner
from runner.config import load
from runner.errors import JobspanError
from runner.wms.client import WmsClient
from runner.wms.tokens import TOKEN_FILE, FileToken
from telemetry.clock import SystemClock
from telemetry.journal import read_journal
from telemetry.ledger.builder import build
from telemetry.ledger.deliver import Backoff, SendOutcome, deliver, pending
from telemetry.outbox import Acknowledgements
from tests.support.small_wrapper import write_small_wrapper

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_SECONDS = 120.0


class Observer:
    """Implements `runner.agent.ports.AgentObserver`."""

    def __init__(self, told: Path) -> None:
        self._told = told

    def on_attempt_started(self, control: Path) -> None:
        self._note(f"started {control.parent.name}")

    def on_attempt_ended(self, control: Path) -> None:
        record = build(read_journal(control))
        assert record is not None
        Acknowledgements(control, "otlp-file").settle(record.text("UID"), "accepted")
        self._note(f"ended {control.parent.name} {record.text('FinalMajorStatus')}")

    def on_room(self, shortage: Mapping[str, str]) -> None:
        self._note(f"short of {' '.join(shortage) or 'nothing'}")

    def close(self) -> None:
        self._note("closed")

    def _note(self, line: str) -> None:
        with self._told.open("a") as file:
            file.write(line + "\n")


class Records:
    """Implements `runner.agent.ports.RecordDelivery`."""

    retry_after_seconds: float | None = None

    def deliver(self, control: Path, client: WmsClient) -> bool:
        record = pending(control)
        if record is None:
            return True

        def send(each: object) -> SendOutcome:
            try:
                (result,) = client.send_accounting([record])
            except JobspanError as error:
                return SendOutcome("retry", str(error))
            return SendOutcome("accepted", result.detail)

        return deliver(control, record, send, backoff=Backoff(deadline_seconds=0.0)).outcome != "pending"


@contextmanager
def agent(folder: Path, url: str, *options: str) -> Iterator["subprocess.Popen[bytes]"]:
    """The agent's process; it is killed at the end if it still runs. *options*: "drain", "patience=2",
    "Table.Option=value"."""
    log = (folder / "agent.log").open("ab")
    with log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.small_agent", str(folder), url, *options], stderr=log, cwd=ROOT
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def main() -> int:
    """The agent's process."""
    folder, url, *options = sys.argv[1:]
    spawner = ZygoteSpawner(["tests.support.small_wrapper"])
    overrides: dict[str, dict[str, object]] = {}
    patience = next((float(each.partition("=")[2]) for each in options if each.startswith("patience=")), 60.0)
    for option in options:
        name, _, value = option.partition("=")
        table, _, key = name.partition(".")
        if key:
            overrides.setdefault(table, {})[key] = value == "yes" if value in ("yes", "no") else float(value)
    slots = int(float(str(overrides.get("JobAgent", {}).pop("Slots", 2))))
    for name in ("StopAfterFailedMatches", "MinDiskSpace", "MaxOutboxJobs"):
        if name in overrides.get("JobAgent", {}):
            overrides["JobAgent"][name] = int(float(str(overrides["JobAgent"][name])))
    config = load(folder=Path(folder), overrides=overrides)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parts = AgentParts(
        client=WmsClient(url, FileToken(config.tokens_folder / "pilot.token"), timeout_seconds=20.0),
        job_client=lambda job: WmsClient(url, FileToken(job.control / TOKEN_FILE), timeout_seconds=20.0),
        computing_element=InProcessComputingElement(spawner, slots=slots),
        observer=Observer(Path(folder) / "told"),
        records=Records(),
        write_wrapper=write_small_wrapper,
    )
    try:
        return JobAgent(config, parts, SystemClock(), drain="drain" in options, patience_seconds=patience).run()
    except JobspanError as error:
        logging.error("agent: %s", error)
        return 1


if __name__ == "__main__":
    sys.exit(main())
