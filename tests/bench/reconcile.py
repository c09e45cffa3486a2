"""What a reconciliation costs beside the join that it cannot do without, and how fast OTLP is read.

    python tests/bench/reconcile.py --records 20000000

does the same with more records than `run.py` takes. Each measurement is a process of its own, so that its peak of
memory is its own too; all of them have the same limits. The bare join is DuckDB's full outer join of the same two
files, with the columns that are compared, and nothing else.
"""

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from runner.compose.reconciliation import by_processes
from telemetry.live.otlp import log_line
from telemetry.live.spans import render
from telemetry.reconcile.engine import reconcile
from telemetry.reconcile.sources import otlp
from telemetry.reconcile.workbench import Workbench
from tests.bench.table import Row, spread, table
from tests.support import injected
from tests.support.ledger import whole_life
from tests.support.sides import of_file, workbench

RECORDS, CORRECT, EVENTS = 2_000_000, 1_000_000, 200_000
MEMORY = "700MB"
MOST_RATIO, MOST_GIB, MOST_DIGEST_SECONDS, LEAST_EVENTS = 1.5, 1.2, 8.0, 100_000
_BARE = """
SELECT count(*), count(l.UID), count(r.UID), sum(l.WallClockTime - r.WallClockTime), sum(l.CPUTime - r.CPUTime),
    sum(l.Processors - r.Processors), sum(epoch_us(l.EndTime) - epoch_us(r.EndTime)),
    sum(l.BenchmarkValue - r.BenchmarkValue), count(*) FILTER (l.BenchmarkName <> r.BenchmarkName)
FROM read_parquet('{left}') l FULL JOIN read_parquet('{right}') r ON l.UID = r.UID
"""


def rows(quick: bool, records: int = RECORDS) -> Iterator[Row]:
    """The full join, the digests, the reading of OTLP, and whether everything is found."""
    with tempfile.TemporaryDirectory(prefix="jobspan-bench-") as name:
        folder = Path(name)
        yield from _joins(folder, 50_000 if quick else records, 1 if quick else 3)
        yield _reading(folder, 2000 if quick else EVENTS)
        yield _correct(folder, 20_000 if quick else CORRECT)


def _joins(folder: Path, records: int, rounds: int) -> Iterator[Row]:
    injected.alike(folder / "data", records, random.randrange(1 << 30))
    times: dict[str, list[float]] = {"bare": [], "full": [], "digest": []}
    peaks: dict[str, list[float]] = {"bare": [], "full": [], "digest": []}
    for _ in range(rounds):  # interleaved: a noisy neighbour hits all of them
        for what in times:
            seconds, gib = _measured(what, folder)
            times[what].append(seconds)
            peaks[what].append(gib)
    ratios = [ours / bare for ours, bare in zip(times["full"], times["bare"], strict=True)]
    yield Row(
        what=f"{records:,} records a side, 0.1 % differ: everything joined and judged",
        ours=f"{statistics.median(times['full']):.1f} s, {max(peaks['full']):.2f} GiB",
        against=f"bare join {statistics.median(times['bare']):.1f} s, {max(peaks['bare']):.2f} GiB",
        ratio=spread(ratios),
        aim=f"at most {MOST_RATIO:g} times, in {MOST_GIB:g} GiB",
        reached=statistics.median(ratios) <= MOST_RATIO and max(peaks["full"]) <= MOST_GIB,
    )
    digests = statistics.median(times["digest"])
    yield Row(
        what=f"{records:,} records a side, 0.1 % differ: by digests",
        ours=f"{digests:.1f} s, {max(peaks['digest']):.2f} GiB",
        against=f"everything joined {statistics.median(times['full']):.1f} s",
        ratio=f"{digests / statistics.median(times['full']):.2f}",
        aim=f"at most {MOST_DIGEST_SECONDS:g} s with 20,000,000",
        reached=digests <= MOST_DIGEST_SECONDS,
    )


def _reading(folder: Path, events: int) -> Row:
    life = whole_life()
    record = life.record()
    line = log_line(render(life.entries, record).logs)
    own = record.text("UID").encode()
    with (folder / "logs.jsonl").open("wb") as file:
        for number in range(events):
            file.write(line.replace(own, str(uuid.UUID(int=number)).encode()))
    seconds, _ = _measured("otlp", folder)
    return Row(
        what=f"reading {events:,} accounting events of OTLP/JSON, {len(line)} bytes each",
        ours=f"{events / seconds:,.0f} records/s, {events * len(line) / seconds / 1e6:.0f} MB/s",
        aim=f"at least {LEAST_EVENTS:,} records/s",
        reached=events / seconds >= LEAST_EVENTS,
    )


def _correct(folder: Path, attempts: int) -> Row:
    seed = random.randrange(1 << 30)
    made = injected.inject(folder / "injected", attempts, seed)
    with workbench(folder / "correct") as bench:
        sides = of_file(bench, "left", made.left), of_file(bench, "right", made.right)
        outcome = reconcile(bench, sides, now_utc_ns=injected.NOW_NS)
        found = set(bench.rows("SELECT key, if(absent <> '', kind || '_in_' || absent, kind) FROM differences"))
    right = len(found & made.wrong)
    precision, recall = right / max(len(found), 1), right / max(len(made.wrong), 1)
    return Row(
        what=f"{len(made.wrong):,} differences of all classes in {attempts:,} attempts (seed {seed})",
        ours=f"precision {precision:.6f}, recall {recall:.6f}, {len(outcome.findings)} systematic",
        aim="1.0 and 1.0",
        reached=found == made.wrong,
    )


def _measured(what: str, folder: Path) -> tuple[float, float]:
    """Seconds, and the peak of memory in GiB, of a process that does *what*."""
    done = subprocess.run(
        [sys.executable, __file__, "--child", what, "--folder", str(folder)], capture_output=True, text=True, check=True
    )
    seconds, peak = json.loads(done.stdout)
    return seconds, peak


def _child(what: str, folder: Path) -> None:
    left, right = folder / "data" / "left.parquet", folder / "data" / "right.parquet"
    with workbench(folder / what, memory=MEMORY) as bench:
        start = time.perf_counter()
        _do(what, bench, folder, left, right)
        seconds = time.perf_counter() - start
    print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)]))


def _do(what: str, bench: Workbench, folder: Path, left: Path, right: Path) -> None:
    if what == "bare":
        bench.rows(_BARE.format(left=left, right=right))
    elif what == "otlp":
        otlp.read(bench, "otlp", [folder / "logs.jsonl"], by_processes(2))
    else:
        sides = of_file(bench, "left", left), of_file(bench, "right", right)
        reconcile(bench, sides, now_utc_ns=injected.NOW_NS, digest=what == "digest")


def main() -> None:
    """By hand, with any number of records; and the child of a measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=RECORDS)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        _child(options.child, options.folder)
    else:
        print(table(list(rows(quick=False, records=options.records))))


if __name__ == "__main__":
    main()
