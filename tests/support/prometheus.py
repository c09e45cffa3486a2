"""A real Prometheus server in tests: on loopback, in a folder of the test's, asked by its HTTP API.

It hands targets that it discovers to its scraper every 5 s: the first sample comes that late, so tests wait for it.
"""

import json
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from tests.support.components import require
from tests.support.ports import free_port
from tests.support.waiting import eventually

START_SECONDS = 120.0
STOP_SECONDS = 15.0
SAMPLE_SECONDS = 60.0
#: How far back exemplars and ranges are asked for.
PAST_SECONDS = 3600.0


def configuration(*jobs: Mapping[str, Any], interval: str = "1s", **more: Any) -> dict[str, Any]:
    """A configuration that scrapes *jobs* (`scrape_configs`); *more* are other parts of it (rule_files, alerting)."""
    return {
        "global": {"scrape_interval": interval, "evaluation_interval": interval},
        "scrape_configs": [dict(job) for job in jobs],
        **more,
    }


@dataclass
class Prometheus:
    """A server that runs."""

    url: str
    log: Path
    process: "subprocess.Popen[bytes]"
    session: requests.Session = field(default_factory=requests.Session)

    def ask(self, path: str, **query: Any) -> Any:
        """The data of one answer of the API (/api/v1)."""
        answer = self.session.get(f"{self.url}/api/v1/{path}", params=query, timeout=20)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Labels and value of each series of *expression* now."""
        result = self.ask("query", query=expression)["result"]
        return [(each["metric"], float(each["value"][1])) for each in result]

    def value(self, expression: str) -> float | None:
        """The value of *expression*, which has one series at most; None: none."""
        found = self.query(expression)
        assert len(found) < 2, found
        return found[0][1] if found else None

    def wait(self, expression: str, within_seconds: float = SAMPLE_SECONDS) -> list[tuple[dict[str, str], float]]:
        """The series of *expression*, as soon as there are any (`metric == 3` has one when it is true)."""
        return eventually(lambda: self.query(expression), within_seconds, f"{expression}; {self.targets()}")

    def wait_value(self, expression: str, expected: float, within_seconds: float = SAMPLE_SECONDS) -> None:
        """Until *expression* has that value, but for the rounding of sums."""
        seen: list[float | None] = []

        def reached() -> bool:
            seen[:] = [self.value(expression)]
            return seen[0] is not None and abs(seen[0] - expected) < 1e-6 * max(1.0, abs(expected))

        try:
            eventually(reached, within_seconds)
        except AssertionError:
            raise AssertionError(f"{expression} is {seen[0]} and not {expected}") from None

    def targets(self) -> dict[str, str]:
        """Health (up, down, unknown) of what is scraped, by address."""
        return {each["scrapeUrl"]: each["health"] for each in self.ask("targets", state="active")["activeTargets"]}

    def exemplars(self, expression: str) -> list[dict[str, Any]]:
        """All exemplars of the series of *expression*: seriesLabels, labels, value, timestamp."""
        now = time.time()
        found = self.ask("query_exemplars", query=expression, start=now - PAST_SECONDS, end=now + 60)
        return [{"seriesLabels": each["seriesLabels"], **one} for each in found for one in each["exemplars"]]


@contextmanager
def prometheus(folder: Path, config: Mapping[str, Any], *options: str) -> Iterator[Prometheus]:
    """A server with that configuration (JSON is YAML), exemplars kept, until the block ends."""
    require("prometheus")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "prometheus.yml").write_text(json.dumps(config))
    address = f"127.0.0.1:{free_port()}"
    command = ["prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=warn"]
    command += [f"--web.listen-address={address}", "--enable-feature=exemplar-storage", *options]
    log = folder / "prometheus.log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, cwd=folder, stdout=file, stderr=file)
    try:
        server = Prometheus(f"http://{address}", log, process)
        server.session.trust_env = False
        with server.session:
            eventually(lambda: _is_ready(server), START_SECONDS, "Prometheus")
            yield server
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def static(job: str, *addresses: str, **more: Any) -> dict[str, Any]:
    """A job whose targets are known."""
    return {"job_name": job, "static_configs": [{"targets": list(addresses)}], **more}


def discovered(job: str, url: str, token_file: Path, *, relabel: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """A job whose targets *url* lists for whoever shows the token in *token_file*."""
    sd = {
        "url": url,
        "refresh_interval": "1s",
        # the type must be named: for http_sd Prometheus 2.42 does not assume it
        "authorization": {"type": "Bearer", "credentials_file": str(token_file)},
    }
    return {"job_name": job, "http_sd_configs": [sd], "relabel_configs": [dict(each) for each in relabel]}


def _is_ready(server: Prometheus) -> bool:
    if server.process.poll() is not None:
        raise AssertionError(f"Prometheus ended with {server.process.returncode}: {server.log.read_text()[-2000:]}")
    try:
        return server.session.get(f"{server.url}/-/ready", timeout=5).status_code == 200
    except requests.RequestException:
        return False
