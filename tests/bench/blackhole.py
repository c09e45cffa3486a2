"""Whether a collector that accepts and never answers slows jobs down: `/bin/true` beside the same without a collector.

Three sites take turns, in a new random order each round: one sends to the silent collector, two have none. The second
of those is the A/A row: what chance alone does to the ratio on this machine.
"""

import random
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from telemetry.facts import JobMatched, WrapperReaped
from telemetry.journal import read_journal
from tests.bench.table import Row, spread
from tests.support.http_faults import black_hole
from tests.support.site import Site, running_site
from tests.support.waiting import eventually

ROUNDS = 240
WARM_UP = 3
MOST_PERCENT = 2.0


def rows(quick: bool) -> Iterator[Row]:
    """The silent collector against none, and none against none."""
    rounds = 4 if quick else ROUNDS
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="jobspan-bench-")))
        silent = stack.enter_context(black_hole())
        sites = {
            "silent": stack.enter_context(running_site(folder / "a", Telemetry={"OTLPEndpoint": silent})),
            "none": stack.enter_context(running_site(folder / "b")),
            "again": stack.enter_context(running_site(folder / "c")),
        }
        found: dict[str, list[float]] = {name: [] for name in sites}
        for number in range(WARM_UP + rounds):
            for name in random.sample(list(sites), k=len(sites)):
                milliseconds = _one(sites[name])
                if number >= WARM_UP:
                    found[name].append(milliseconds)
    yield _row("/bin/true with a collector that never answers", found["silent"], found["none"], f"< {MOST_PERCENT:g} %")
    yield _row("the same without any collector, twice (A/A)", found["again"], found["none"], "")


def _one(site: Site) -> float:
    """Milliseconds from the match to the end of the wrapper, as the node's journal has them."""
    job_id = site.submit(Executable="/bin/true")
    control = site.wait_folder(job_id) / "control"

    def reaped() -> list[int]:
        return [each.boottime_ns for each in read_journal(control) if isinstance(each.fact, WrapperReaped)]

    (end,) = eventually(reaped, 40, f"the end of job {job_id}")
    (start,) = [each.boottime_ns for each in read_journal(control) if isinstance(each.fact, JobMatched)]
    return (end - start) / 1e6


def _row(what: str, ours: list[float], against: list[float], aim: str) -> Row:
    ratio = statistics.median(ours) / statistics.median(against)
    pairs = [one / other for one, other in zip(ours, against, strict=True)]
    return Row(
        what=f"{what}, {len(ours)} pairs",
        ours=f"{statistics.median(ours):.1f} ms",
        against=f"no collector: {statistics.median(against):.1f} ms",
        ratio=f"{ratio:.3f}; pairs {spread(pairs)}",
        aim=aim,
        reached=(ratio - 1) * 100 < MOST_PERCENT if aim else None,
    )
