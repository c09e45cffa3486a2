"""The demonstration's results: tables, waterfall, metrics and places for people; the same as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from runner.commands.demonstration.results import JobResult
from runner.commands.terminal import Terminal, seconds_text
from telemetry.facts import ACCOUNTED_STAGES
from telemetry.reconcile.result import Outcome as Reconciliation
from telemetry.reconcile.statement import render_text, to_json

#: Metrics that are shown; all of them are in demo.json.
SHOWN_METRICS = (
    "jobspan_jobs_finished_total",
    "jobspan_payload_cpu_seconds_total",
    "jobspan_wall_seconds_total",
    "jobspan_peek_lines_total",
    "jobspan_output_bytes_total",
)
#: From this many columns on, what a job does fits beside how it ended.
WIDE = 118
VERDICT_WIDTH = 7
REPORT_FILE = "report.html"
STAGE_HEADS = ("INIT", "SANDBOX", "INPUT", "EXECUTE", "OUTPUTS")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Everything that a demonstration has shown."""

    folder: Path
    seconds: float
    results: tuple[JobResult, ...]
    #: What else must hold: a sentence, and what is wrong with it (empty: it holds).
    checks: tuple[tuple[str, str], ...]
    reconciliation: Reconciliation
    waterfall: str
    traces: Mapping[int, Mapping[str, Any]]
    metrics: tuple[tuple[str, Mapping[str, str], float], ...]

    @property
    def is_good(self) -> bool:
        """Whether all of it is as promised."""
        return not any(each.missed for each in self.results) and not any(wrong for _, wrong in self.checks)


def show(outcome: Outcome, terminal: Terminal) -> None:
    """Print it all."""
    _show_jobs(outcome.results, terminal)
    _show_times(outcome.results, terminal)
    if outcome.waterfall:
        _head(terminal, "Trace")
        terminal.line(outcome.waterfall.rstrip("\n"))
    _head(terminal, "Metrics of the agent")
    for name, labels, value in outcome.metrics:
        if name in SHOWN_METRICS:
            inside = ",".join(f'{label}="{text}"' for label, text in labels.items())
            number = f"{value:.0f}" if value.is_integer() else f"{value:.6g}"
            terminal.line(f"{name}{{{inside}}} {number}" if inside else f"{name} {number}")
    _show_places(outcome, terminal)
    _head(terminal, "Reconciliation")
    terminal.line(render_text(outcome.reconciliation, colour=terminal.colour).rstrip("\n"))
    _head(terminal, "Checks")
    for sentence, wrong in outcome.checks:
        terminal.line(_verdict(terminal, wrong) + f"  {sentence}{f': {wrong}' if wrong else ''}")
    good = "all is as promised" if outcome.is_good else "NOT all is as promised"
    terminal.line()
    terminal.line(terminal.paint(f"{good}, in {seconds_text(outcome.seconds)}", "green" if outcome.is_good else "red"))


def _head(terminal: Terminal, text: str) -> None:
    terminal.line()
    terminal.line(terminal.paint(text, "bold"))


def _verdict(terminal: Terminal, wrong: object) -> str:
    return terminal.paint("WRONG", "red") if wrong else terminal.paint("ok   ", "green")


def _show_jobs(results: Sequence[JobResult], terminal: Terminal) -> None:
    _head(terminal, "Jobs")
    heads, rows = ["ID", "JOB", "TRIES", "ENDED AS"], [_ended(each) for each in results]
    if terminal.width >= WIDE or not terminal.interactive:
        heads.append("WHAT IT DOES")
        rows = [(*row, each.job.what) for row, each in zip(rows, results, strict=True)]
    lines = replace(terminal, width=terminal.width - VERDICT_WIDTH).table(heads, rows)
    terminal.line(f"       {lines[0]}")
    for line, each in zip(lines[1:], results, strict=True):
        terminal.line(f"{_verdict(terminal, each.missed)}  {line}")
        for sentence in each.missed:
            terminal.line(f"         {sentence}")


def _ended(result: JobResult) -> tuple[object, ...]:
    row = result.row
    return (row.job_id, row.name, row.attempt, f"{row.status} / {row.minor_status}")


def _show_times(results: Sequence[JobResult], terminal: Terminal) -> None:
    _head(terminal, "Seconds by stage, CPU and lines of output, from the accounting records")
    rows = []
    for each in results:
        for record in each.records:
            stages = [_seconds(record.get(f"StageWallClockTime.{stage}")) for stage in ACCOUNTED_STAGES]
            method = record.get("CPUMethod") if record.get("PayloadStarted") else "no payload"
            cpu = (_seconds(record.get("CPUTime")), method)
            job = f"{each.row.job_id}.{record['Attempt']}"
            rows.append((job, *stages, _seconds(record["WallClockTime"]), *cpu, record.get("OutputLines") or 0))
    heads = ("ATTEMPT", *STAGE_HEADS, "WALL", "CPU", "METHOD", "LINES")
    terminal.show_table(heads, rows)


def _show_places(outcome: Outcome, terminal: Terminal) -> None:
    _head(terminal, "Where everything lies")
    for what, path in places(outcome).items():
        terminal.line(f"{what:22}{path}")


def places(outcome: Outcome) -> dict[str, str]:
    """What lies where."""
    folder = outcome.folder
    return {
        "outputs of the jobs": str(folder / "output"),
        "journals": str(folder / "jobs" / "<JobID>.<Attempt>" / "control"),
        "spans": str(folder / "telemetry" / "traces.jsonl"),
        "accounting events": str(folder / "telemetry" / "logs.jsonl"),
        "databases of the WMS": str(folder / "wms"),
        "storage element": str(folder / "storage"),
        "logs of the services": str(folder / "logs"),
        "all of this as JSON": str(folder / "demo.json"),
        "all of this as a page": str(folder / REPORT_FILE),
    }


def _seconds(value: object) -> str:
    return "-" if value is None else f"{float(str(value)):.2f}"


def outcome_json(outcome: Outcome) -> dict[str, Any]:
    """The same for programs."""
    return {
        "schema": "jobspan.demo/1",
        "good": outcome.is_good,
        "seconds": round(outcome.seconds, 3),
        "folder": str(outcome.folder),
        "jobs": [_job_json(each, outcome) for each in outcome.results],
        "checks": [{"what": sentence, "ok": not wrong, "wrong": wrong} for sentence, wrong in outcome.checks],
        "metrics": [{"name": name, "labels": dict(labels), "value": value} for name, labels, value in outcome.metrics],
        "places": places(outcome),
        "reconciliation": to_json(outcome.reconciliation),
    }


def _job_json(result: JobResult, outcome: Outcome) -> dict[str, Any]:
    last = result.last
    return {
        "job_id": result.row.job_id,
        "file": result.job.file,
        "what": result.job.what,
        "status": result.row.status,
        "minor_status": result.row.minor_status,
        "attempts": result.row.attempt,
        "ok": not result.missed,
        "missed": list(result.missed),
        "wall_by_stage": {stage: last.get(f"StageWallClockTime.{stage}") for stage in ACCOUNTED_STAGES},
        "wall_clock_time": last.get("WallClockTime"),
        "cpu_time": last.get("CPUTime"),
        "cpu_method": last.get("CPUMethod"),
        "lines": last.get("OutputLines"),
        "exit_code": last.get("ExitCode"),
        "output": str(result.output) if result.output else None,
        "records": [dict(record) for record in result.records],
        "trace": outcome.traces.get(result.row.job_id),
    }
