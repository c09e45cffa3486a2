"""What a reconciliation costs beside the join that it cannot do without, and how fast OTLP is read.

    python tests/bench/reconcile.py --records 20000000

does the same with more records than `run.py` takes. Each measurement is a process of its own, so that its peak of
memory is its own too; all of them have the same limits. The bare join is DuckDB's full outer join of the same two
files, with the columns that are compared, and nothing else.
"""

import argparse
import json
import random
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
from tests.support.tree import ROOT

RECORDS, CORRECT, EVENTS = 2_000_000, 1_000_000, 200_000
#: Events differ in their numbers, in so many ways.
_SHAPES = 256
MEMORY = "700MB"
MOST_RATIO, MOST_GIB, MOST_DIGEST_SECONDS, LEAST_EVENTS = 1.5, 1.2, 8.0, 100_000
_BARE = """
SELECT count(*), count(l.UID), count(r.UID), sum(l.WallClockTime - r.WallClockTime), sum(l.CPUTime - r.CPUTime),
    sum(l.Processors - r.Processors), sum(epoch_us(l.EndTime) - epoch_us(r.EndTime)),
    sum(l.BenchmarkValue - r.BenchmarkValue), count(*) FILTER (l.BenchmarkName <> r.BenchmarkName)
FROM read_parquet('{left}') l FULL JOIN read_parquet('{right}') r ON l.UID = r.UID
"""


@dataclass(frozen=True)
class Measured:
    """Time, CPU, and the peak of memory of one process."""

    seconds: float
    cpu_seconds: float
    gib: float

    @property
    def shown(self) -> str:
        """In words."""
        return f"{self.seconds:.1f} s, {self.cpu_seconds:.1f} s of CPU, {self.gib:.2f} GiB"


def rows(quick: bool, records: int = RECORDS) -> Iterator[Row]:
    """The full join, the digests, the reading of OTLP, and whether everything is found."""
    with tempfile.TemporaryDirectory(prefix="jobspan-bench-") as name:
        folder = Path(name)
        yield from _joins(folder, 50_000 if quick else records, 1 if quick else 3)
        yield _reading(folder, 2000 if quick else EVENTS)
        yield _correct(folder, 20_000 if quick else CORRECT)


def _joins(folder: Path, records: int, rounds: int) -> Iterator[Row]:
    injected.alike(folder / "data", records, random.randrange(1 << 30))
    found: dict[str, list[Measured]] = {"bare": [], "full": [], "digest": [], "kept": []}
    _measured("kept", folder)  # so that there is something
    for _ in range(rounds):  # interleaved: a noisy neighbour hits all of them
        for what, measured in found.items():
            measured.append(_measured(what, folder))
    ratios = [ours.seconds / bare.seconds for ours, bare in zip(found["full"], found["bare"], strict=True)]
    full, bare = (_middle(found[what]) for what in ("full", "bare"))
    yield Row(
        what=f"{records:,} records a side, 0.1 % differ: everything joined and judged",
        ours=full.shown,
        against=f"bare join {bare.shown}",
        ratio=spread(ratios),
        aim=f"at most {MOST_RATIO:g} times, in {MOST_GIB:g} GiB",
        reached=statistics.median(ratios) <= MOST_RATIO and full.gib <= MOST_GIB,
    )
    for what, how in (("digest", "by digests, for the first time"), ("kept", "by digests that were kept")):
        digest = _middle(found[what])
        yield Row(
            what=f"{records:,} records a side, 0.1 % differ: {how}",
            ours=digest.shown,
            against=f"everything joined {full.shown}",
            ratio=f"{digest.seconds / full.seconds:.2f}",
            aim=f"at most {MOST_DIGEST_SECONDS:g} s with 20,000,000",
            reached=digest.seconds <= MOST_DIGEST_SECONDS,
        )


def _reading(folder: Path, events: int) -> Row:
    life = whole_life()
    record = life.record()
    line = log_line(render(life.entries, record).logs)
    own = record.text("UID").encode()
    shapes = [_with_other_numbers(line) for _ in range(_SHAPES)]
    with (folder / "logs.jsonl").open("wb") as file:
        for number in range(events):
            file.write(shapes[number % _SHAPES].replace(own, str(uuid.UUID(int=number)).encode()))
    found = _measured("otlp", folder)
    return Row(
        what=f"reading {events:,} accounting events of OTLP/JSON, {len(line)} bytes each",
        ours=f"{events / found.seconds:,.0f} records/s, {events / found.cpu_seconds:,.0f} in a CPU second",
        aim=f"at least {LEAST_EVENTS:,} records/s",
        reached=events / found.seconds >= LEAST_EVENTS,
    )


def _with_other_numbers(line: bytes) -> bytes:
    """*line* with numbers of any length, as those of other jobs are."""

    def number(_: re.Match[bytes]) -> bytes:
        return f"{random.uniform(0, 10 ** random.randrange(6)):.6f}".encode()

    return re.sub(rb'(?<="doubleValue":)[0-9.]+', number, line)


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


def _measured(what: str, folder: Path) -> Measured:
    """What a process takes that does *what*. As with the command, the module that it begins with is a small one."""
    begin = "from tests.bench.reconcile import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", begin, "--child", what, "--folder", str(folder)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return Measured(*json.loads(done.stdout))


def _middle(found: Sequence[Measured]) -> Measured:
    """The one of the median time."""
    return sorted(found, key=lambda each: each.seconds)[len(found) // 2]


def _child(what: str, folder: Path) -> None:
    left, right = folder / "data" / "left.parquet", folder / "data" / "right.parquet"
    with workbench(folder / what, memory=MEMORY, kept=folder / "kept-tables" if what == "kept" else None) as bench:
        start, spent = time.perf_counter(), _cpu()
        _do(what, bench, folder, left, right)
        seconds, cpu = time.perf_counter() - start, _cpu() - spent
    # Not ru_maxrss, which begins with that of whoever has started us.
    (peak,) = (
        int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")
    )
    print(json.dumps([seconds, cpu, peak / (1 << 20)]))


def _cpu() -> float:
    """CPU of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def _do(what: str, bench: Workbench, folder: Path, left: Path, right: Path) -> None:
    if what == "bare":
        bench.rows(_BARE.format(left=left, right=right))
    elif what == "otlp":
        otlp.read(bench, "otlp", [folder / "logs.jsonl"], by_processes(2))
    else:
        sides = of_file(bench, "left", left), of_file(bench, "right", right)
        reconcile(bench, sides, now_utc_ns=injected.NOW_NS, digest=what in ("digest", "kept"))


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
