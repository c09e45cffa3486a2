"""The demonstration itself: a site, its jobs from submission to the end, and what they leave behind."""

import os
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from dashboards.check import empty_panels, samples
from dashboards.job_stages import stages_dashboard
from runner.commands.context import Context
from runner.commands.demonstration.leftovers import addresses, leftovers
from runner.commands.demonstration.manifest import Manifest
from runner.commands.demonstration.preparing import CANARY, ESCAPED, Preparation
from runner.commands.demonstration.report import Outcome
from runner.commands.demonstration.results import SETTLE_SECONDS, await_records, collect
from runner.commands.jobs import JobRow, LiveTable, newest, watch
from runner.commands.killing import kill
from runner.commands.terminal import Terminal
from runner.compose.reconciliation import of_node
from runner.compose.reports import metrics_text
from runner.compose.site import LocalSite
from runner.compose.traces import find_trace
from runner.config import Config, load
from runner.errors import UnavailableError
from runner.job.status import FINAL_STATUSES, JobStatus, MinorStatus
from runner.process.linux import become_subreaper
from runner.wms.client import WmsClient
from telemetry.live.traces import trace_values
from telemetry.live.waterfall import waterfall
from telemetry.reconcile.result import Outcome as Reconciliation
from telemetry.reconcile.statement import exit_code, summary

SLOTS = 2
SCRAPE_SECONDS = 0.5
EARLIER_JOBS = 100
DEADLINE_SECONDS = 240.0
OPTIONS = """# Written by `jobspan demo`, once; change what you like.
[JobWrapper]
CheckingTime = 2.0  # heartbeats often enough for short jobs
"""


def configuration(context: Context) -> Config:
    """The demonstration's own: in ./demo or --folder, from the jobspan.toml there or --config."""
    folder = (context.arguments.folder or Path("demo")).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    own = folder / "jobspan.toml"
    if not own.exists():
        own.write_text(OPTIONS)
    # The jobs run `python3`: the one that runs us, which is known to be new enough.
    environment = dict(context.config.environment)
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", os.defpath)])
    return load(context.arguments.config or own, folder, environment=environment)


def perform(manifest: Manifest, config: Config, terminal: Terminal) -> Outcome:
    """Run all jobs of *manifest* on a site of their own; what there is to show."""
    start = time.monotonic()
    become_subreaper()
    preparation = Preparation(manifest, config, terminal.line)
    files = preparation.make_data()
    with LocalSite(config, slots=SLOTS) as site:
        listening = addresses(config.folder)
        terminal.line(f"WMS and agent run in {config.folder}")
        _end_earlier_jobs(site.client, terminal)
        preparation.register(site.client, files)
        stage = _Stage(manifest, config, site.client, terminal)
        stage.run(preparation.hand_in(site.client))
        outcome = stage.outcome()
    checks = (
        *outcome.checks,
        ("nothing was written outside by the hostile sandbox", escaped(config.folder, preparation.outside)),
        ("no process and no port is left", "; ".join(leftovers(listening))),
    )
    return replace(outcome, checks=checks, seconds=time.monotonic() - start)


def _end_earlier_jobs(client: WmsClient, terminal: Terminal) -> None:
    """Kill what an interrupted demonstration has left in the queue; it would take a slot from the new jobs."""
    for row in newest(client, EARLIER_JOBS):
        if row.status not in FINAL_STATUSES and kill(client, row).ordered:
            terminal.line(f"job {row.job_id} of an interrupted demonstration is ended")


class _Stage:
    """The jobs while the site is up."""

    def __init__(self, manifest: Manifest, config: Config, client: WmsClient, terminal: Terminal) -> None:
        self._manifest = manifest
        self._config = config
        self._client = client
        self._terminal = terminal
        self._rows: list[JobRow] = []
        self._scrapes: list[str] = []

    def run(self, ids: list[int]) -> None:
        """Watch the jobs until all are over; kill those that are to be killed once they run."""
        table = LiveTable(self._terminal)
        to_kill = {job_id for job_id, job in zip(ids, self._manifest.jobs, strict=True) if job.kill}
        start, due = time.monotonic(), 0.0
        for rows in watch(self._client, ids):
            self._rows = rows
            table.show(rows)
            for row in rows:
                if row.job_id in to_kill and _payload_runs(row) and kill(self._client, row).ordered:
                    to_kill.remove(row.job_id)
            if time.monotonic() >= due:
                self._scrape()
                due = time.monotonic() + SCRAPE_SECONDS
            if time.monotonic() - start > DEADLINE_SECONDS:
                self._terminal.line(f"not all jobs have ended after {DEADLINE_SECONDS:.0f} s; going on without them")
                return

    def outcome(self) -> Outcome:
        """All that can be gathered before the site goes down."""
        in_time = await_records(self._config, self._client, self._rows)
        self._scrape()
        output = self._config.folder / "output"
        results = [
            collect(job, row, self._client, _emptied(output, row.job_id))
            for job, row in zip(self._manifest.jobs, self._rows, strict=True)
        ]
        traces = {row.job_id: find_trace(self._config, row.job_id) for row in self._rows}
        drawn = "\n".join(
            waterfall(traces[row.job_id], width=self._terminal.width, colour=self._terminal.colour)
            for job, row in zip(self._manifest.jobs, self._rows, strict=True)
            if job.show_trace
        )
        reconciliation = of_node(self._config, self._client)
        return Outcome(
            folder=self._config.folder,
            seconds=0.0,
            results=tuple(results),
            checks=tuple(self._checks(in_time, reconciliation)),
            reconciliation=reconciliation,
            waterfall=drawn,
            traces={job_id: trace_values(found) for job_id, found in traces.items()},
            metrics=tuple(samples(self._scrapes[-1])) if self._scrapes else (),
        )

    def _checks(self, in_time: bool, reconciliation: Reconciliation) -> Iterator[tuple[str, str]]:
        late = "" if in_time else f"some had not after {SETTLE_SECONDS:.0f} s"
        yield "every attempt's record has reached the WMS and the telemetry", late
        wrong = "" if exit_code(reconciliation) == 0 else summary(reconciliation)
        yield "the WMS's accounting and the telemetry agree", wrong
        empty = empty_panels(stages_dashboard(), self._scrapes)
        yield "no panel of the Grafana dashboard of the stages is empty", ", ".join(empty)

    def _scrape(self) -> None:
        try:
            self._scrapes.append(metrics_text(self._config))
        except UnavailableError as error:
            self._terminal.line(f"metrics: {error}")


def _payload_runs(row: JobRow) -> bool:
    return row.status == JobStatus.RUNNING and row.minor_status == MinorStatus.APPLICATION


def _emptied(output: Path, job_id: int) -> Path:
    """The demonstration's folder, without what an interrupted earlier run left for this job."""
    shutil.rmtree(output / str(job_id), ignore_errors=True)
    return output.parent


def escaped(folder: Path, outside: Path) -> str:
    """What a hostile sandbox wrote where it must not, in words; empty: nothing."""
    if not outside.is_dir():
        return ""
    found = [str(path) for path in folder.rglob(f"{ESCAPED}*")]
    found += [str(path) for place in (folder.parent, outside) for path in place.glob(f"{ESCAPED}*")]
    canary = outside / "canary"
    changed = not canary.is_file() or canary.is_symlink() or canary.read_text() != CANARY
    return ", ".join(sorted(set(found)) + ([f"{canary} was changed"] if changed else []))
