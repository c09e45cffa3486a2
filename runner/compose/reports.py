"""What the folder of a node knows of its jobs, and what the WMS says beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import requests

from runner.agent.folders import JobFolder
from runner.compose.clients import METRICS_URL_FILE, WMS_METRICS_URL_FILE
from runner.compose.kinds import open_wms
from runner.compose.users import user_names
from runner.config import Config
from runner.errors import UnavailableError
from runner.wms.answers import AccountingPage
from runner.wms.client import WmsClient
from telemetry.clock import SystemClock, parse_utc
from telemetry.identity import UserName
from telemetry.journal import read_journal
from telemetry.ledger.builder import record_of
from telemetry.ledger.differences import Reconciliation
from telemetry.ledger.evidence import AttemptWitness, Evidence, Heartbeat, contribution
from telemetry.ledger.reconcile import reconcile as compare
from telemetry.ledger.record import InvalidRecord, Record, current
from telemetry.live.counters import read_counters
from telemetry.live.otlp_files import OtlpFiles, read_accounting


@dataclass(frozen=True)
class AttemptFolder:
    """An attempt that ran on this node: its folder, and its record when it has ended."""

    folder: Path
    record: Record | None


def attempts(config: Config, job_id: int) -> list[AttemptFolder]:
    """The attempts of a job of which this node has the folder, the first one first."""
    folders = [folder for folder in JobFolder.all(config.jobs_folder) if folder.job_id == job_id]
    return [AttemptFolder(folder.root, record_of(read_journal(folder.control))) for folder in folders]


def metrics_text(config: Config) -> str:
    """What the agent on this folder exposes.

    Raises:
        UnavailableError: no agent runs here.
    """
    return _scraped(config.folder / METRICS_URL_FILE, config.job_agent.metrics_token_file, "agent")


def wms_metrics_text(config: Config) -> str:
    """What the WMS on this folder exposes.

    Raises:
        UnavailableError: no WMS runs here.
    """
    return _scraped(config.folder / WMS_METRICS_URL_FILE, config.wms.metrics_token_file, "wms")


def _scraped(url_file: Path, token_file: str, service: str) -> str:
    try:
        url = url_file.read_text().strip()
        with requests.Session() as session:
            session.trust_env = False
            headers = {"Authorization": f"Bearer {Path(token_file).read_text().strip()}"} if token_file else {}
            answer = session.get(url, headers=headers, timeout=5, allow_redirects=False)
            answer.raise_for_status()
    except FileNotFoundError:
        raise UnavailableError(f"no {service} runs on {url_file.parent}; start one with `jobspan {service}`") from None
    except requests.RequestException as error:
        raise UnavailableError(f"the metrics of the {service} cannot be read: {type(error).__name__}") from error
    return answer.text


def otlp_copies(config: Config, uid: str) -> int:
    """How often the node's OTLP file holds the accounting event that counts of *uid*."""
    events = read_accounting(OtlpFiles(config.telemetry_folder).logs, uids=[uid]).events
    counting = current(Record(event.record) for event in events)
    return sum(1 for event in events if counting is not None and event.item == counting.key.item)


def reconcile(config: Config, client: WmsClient) -> Reconciliation:
    """Hold the WMS's accounting, the OTLP events of this folder and all witnesses against each other."""
    problems: list[str] = []
    users = user_names(config)  # the WMS knows the user, the telemetry perhaps a hash: held against each other as such
    ledger = open_wms(config).accounting(client)
    accounting = ledger.all_accounting() if ledger else AccountingPage([], 0, 0)
    wms_id = str(client.info()["WMSID"])
    # One service may keep the accounting of several WMSs, as one collector may serve them.
    records = [each for each in accounting.records if each.get("WMSID") == wms_id]
    counters = read_counters(config.folder / "agent" / "counters.jsonl")
    events = read_accounting(OtlpFiles(config.telemetry_folder).logs)
    if events.damaged:
        problems.append(f"{events.damaged} lines of the OTLP log file are damaged")
    return compare(
        Evidence(
            wms_id=wms_id,
            now_utc_ns=SystemClock().utc_ns(),
            wms=_records([*records, *accounting.conflicts], "record of the WMS", problems, users),
            duplicates_on_wire=accounting.duplicates,
            otlp=_records([event.record for event in events.events], "OTLP event", problems, users),
            witnesses=[_witness(row) for row in client.witness()],
            contributions=[contribution(uid, tally.values) for uid, tally in counters.attempts.items()],
            problems=problems,
            one_ledger=ledger is None,
        )
    )


def _records(bodies: Sequence[Mapping[str, object]], what: str, problems: list[str], users: UserName) -> list[Record]:
    read = []
    for body in bodies:
        try:
            record = Record(body)
            read.append(record.replace(User=users(record.text("User"))) if record.text("User") else record)
        except InvalidRecord as error:
            problems.append(f"{what} {body.get('UID', 'without UID')}: {error}")
    return read


def _witness(row: Mapping[str, object]) -> AttemptWitness:
    beat = row.get("LastHeartbeat")
    heartbeat = None
    if isinstance(beat, Mapping) and beat.get("CPUConsumed") is not None:
        wall = beat.get("WallClockTime")
        heartbeat = Heartbeat(
            cpu_seconds=float(beat["CPUConsumed"]), wall_core_seconds=None if wall is None else float(wall)
        )
    return AttemptWitness(
        uid=str(row["UID"]),
        job_id=int(str(row["JobID"])),
        attempt=int(str(row["Attempt"])),
        status=str(row["Status"]),
        minor_status=str(row["MinorStatus"]),
        running_utc_ns=_moment(row.get("RunningTime")),
        end_utc_ns=_moment(row.get("EndTime")),
        last_heartbeat=heartbeat,
        pilot_stamp=str(row.get("PilotStamp") or ""),
    )


def _moment(value: object) -> int | None:
    return parse_utc(value) if isinstance(value, str) else None
