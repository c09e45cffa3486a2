"""Sides for the engine of reconciliation: files of any size, and small tables of made-up attempts."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from telemetry.reconcile import kept
from telemetry.reconcile.columns import from_record
from telemetry.reconcile.engine import reconcile
from telemetry.reconcile.result import Level, Outcome
from telemetry.reconcile.settings import Engine, Window
from telemetry.reconcile.sides import Loaded
from telemetry.reconcile.sources import records
from telemetry.reconcile.workbench import Workbench, open_workbench

SECOND = 1_000_000
#: 2026-11-01 UTC, and a day later.
START_US = 1_793_491_200 * SECOND
NOW_NS = (START_US + 10 * 86_400 * SECOND) * 1000


@contextmanager
def workbench(folder: Path, **options: Any) -> Iterator[Workbench]:
    """A database that spills into *folder*."""
    with open_workbench(Engine(folder=folder, **options)) as bench:
        yield bench


def of_file(bench: Workbench, name: str, path: Path) -> Loaded:
    """The accounting records in a Parquet file."""
    source = f"read_parquet('{path}')"
    bench.run(f"CREATE OR REPLACE VIEW file_{name} AS SELECT {from_record(bench.columns(source))} FROM {source}")
    identity = kept.identity([path], "the records of a file")
    return Loaded(name=name, kind="parquet", where=str(path), relation=f"file_{name}", identity=identity)


def of_rows(bench: Workbench, name: str, rows: Sequence[Mapping[str, Any]], level: Level = "attempt") -> Loaded:
    """Rows of our columns."""
    made = records.sums if level == "sum" else records.columns
    return Loaded(name=name, kind="rows", where="here", relation=made(bench, name, rows), level=level)


def attempt(number: int, **changes: Any) -> dict[str, Any]:
    """An attempt of an hour on four cores; the next one begins two hours later."""
    start = START_US + number * 7200 * SECOND
    values = {
        "key": f"00000000-0000-5000-8000-{number:012}",
        "job_id": number,
        "attempt": 1,
        "site": "LCG.Example.org",
        "grp": "vo/users",
        "host": "wn1",
        "pilot": f"p{number // 3}",
        "batch": str(100 + number // 3),
        "cores": 4,
        "wall_us": 3600 * SECOND,
        "cpu_us": 10_000 * SECOND,
        "own_cpu_us": 10 * SECOND,
        "start_us": start,
        "end_us": start + 3600 * SECOND,
        "benchmark": 12.5,
        "benchmark_name": "hepscore23",
    }
    return {**values, **changes}


def compared(
    folder: Path,
    left: Sequence[Mapping[str, Any]],
    right: Sequence[Mapping[str, Any]],
    level: Level = "attempt",
    window: Window | None = None,
) -> Outcome:
    """Two tables held against each other."""
    with workbench(folder) as bench:
        sides = of_rows(bench, "left", left), of_rows(bench, "right", right, level)
        return reconcile(bench, sides, now_utc_ns=NOW_NS, window=window)


def classes(outcome: Outcome) -> dict[str, int]:
    """How many of each class there are, without those of which there are none."""
    return {each.name: each.pairs for each in outcome.totals if each.pairs}
