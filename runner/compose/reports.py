"""What the folder of a node knows of its jobs, and what agent and WMS expose."""

from dataclasses import dataclass
from pathlib import Path

import requests

from runner.agent.folders import JobFolder
from runner.compose.clients import METRICS_URL_FILE, WMS_METRICS_URL_FILE
from runner.config import Config
from runner.errors import UnavailableError
from telemetry.journal import read_journal
from telemetry.ledger.builder import record_of
from telemetry.ledger.record import Record, current
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
