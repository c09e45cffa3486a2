"""What a demonstration has shown, made by hand: its own jobs, each with a record as a job that succeeded has it."""

from collections.abc import Sequence
from pathlib import Path

from runner.commands.demonstration.manifest import read_manifest
from runner.commands.demonstration.report import Outcome
from runner.commands.demonstration.results import JobResult
from runner.commands.jobs import JobRow
from tests.support.evidence import honest, reconcile
from tests.support.ledger import whole_life
from tests.support.tree import ROOT

MANIFEST = read_manifest(ROOT / "tests" / "data" / "demo")


def outcome(folder: Path, missed: Sequence[tuple[str, ...]]) -> Outcome:
    """As many jobs of the manifest as *missed* has entries: what is not as promised, for each."""
    record = whole_life().record().replace(OutputLines=1_000_000)
    results = tuple(
        JobResult(job, _row(number, job.status, job.minor_status), (record,), None, each)
        for number, (job, each) in enumerate(zip(MANIFEST.jobs, missed, strict=False), 1)
    )
    return Outcome(
        folder=folder, seconds=1.0, results=results, checks=(("all is well", ""), ("nothing is left", "a port")),
        reconciliation=reconcile(honest([record])), waterfall="", traces={},
        metrics=(("jobspan_jobs_finished_total", {"status": "Done", "error_type": ""}, 5.0),),
    )  # fmt: skip


def _row(number: int, status: str, minor_status: str) -> JobRow:
    return JobRow({"JobID": number, "Status": status, "MinorStatus": minor_status, "JobName": "<b>first</b>"})
