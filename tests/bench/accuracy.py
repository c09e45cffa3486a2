"""How near the reported CPU comes to what was used: every process shape by every method, and by others' ways.

The witness is a control group that the benchmark makes around watchdog and payload; without the right to make one it is
the kernel's task clock of both (see tests/conformance/README.md). The rows are the suite of tests/conformance, at its
worst shape.
"""

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.bench.table import Row
from tests.conformance import bench
from tests.conformance.bench import EXACT, Watchdog, measure, watching
from tests.conformance.shapes import SHAPES, Shape

_FOLDER = Path(bench.__file__).parent
OTHERS = ("sampling_watch.py", "time_watch.py")
BURN_SECONDS = 1.0
QUICK_SHAPES = ("one", "daemon", "auto_reaped", "burst")


def rows(quick: bool) -> Iterator[Row]:
    """One row for each of our methods, the others' worst errors beside it."""
    shapes = [each for each in SHAPES if not quick or each.name in QUICK_SHAPES]
    burn_seconds = 0.3 if quick else BURN_SECONDS
    with tempfile.TemporaryDirectory(prefix="jobspan-accuracy-") as name, watching() as ours:
        Path(name).chmod(0o711)
        others = [watching((sys.executable, str(_FOLDER / each))) for each in OTHERS]
        with others[0] as sampler, others[1] as shell:
            found: dict[str, list[bench.Row]] = {}
            for shape in shapes:
                for watchdog in (ours, sampler, shell):
                    for method, row in _of(watchdog, shape, burn_seconds, Path(name)):
                        found.setdefault(method, []).append(row)
            against = [each for dog in (sampler, shell) for each in dog.granted]
            beside = "; ".join(f"{each} {_worst(found[each])}" for each in against if each in found)
            for method in ours.granted:
                if method in found:
                    yield from _rows(method, found[method], beside)


def _of(watchdog: Watchdog, shape: Shape, burn_seconds: float, folder: Path) -> Iterator[tuple[str, bench.Row]]:
    for method in watchdog.granted:
        row = measure(watchdog, shape, method, burn_seconds=burn_seconds, folder=folder)
        if not row.not_granted:
            yield method, row


def _error(row: bench.Row) -> float:
    """Against the witness; without one, beyond what interpreters and forks may add to the burn."""
    if row.reference is not None:
        return abs(row.reported - row.reference)
    return max(row.programmed - row.reported, row.reported - row.programmed - row.allowed, 0.0)


def _worst(found: Sequence[bench.Row]) -> str:
    row = max(found, key=_error)
    return f"{_error(row):.3f} s ({row.shape.name})"


def _rows(method: str, found: Sequence[bench.Row], beside: str) -> Iterator[Row]:
    user = "root" if os.geteuid() == 0 else "ordinary user"
    witness = " and ".join(dict.fromkeys(row.witness or "programmed" for row in found))
    aim = (
        "within max(0.05 s, 1 %)"
        if method in EXACT
        else "error at most the uncertainty, that at most max(0.1 s, 2 %); auto-reaped: a lower bound"
    )
    uncertainty = max(row.uncertainty for row in found if not row.shape.is_auto_reaped)
    bad = [row.shape.name for row in found if row.problems()]
    yield Row(
        what=f"CPU reported by {method}, {user}, {len(found)} shapes, against {witness}",
        ours=f"error at most {_worst(found)}, uncertainty at most {uncertainty:.3f} s" + f", wrong: {bad}" * bool(bad),
        against=beside,
        aim=aim,
        reached=not bad,
    )
