"""All shapes against all methods of a watchdog, as a table: to their end, and killed in the middle.

examples:
    python tests/conformance/run.py
    python tests/conformance/run.py --burn 0.3 --shape daemon --shape crowd --method wait4 --json rows.json
    python tests/conformance/run.py --watchdog "python3 tests/conformance/sampling_watch.py"

The exit code is 0 if every row conforms, 1 if one does not, and 2 if a method was demanded that is not granted here.
"""

import argparse
import json
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.conformance.bench import OURS, Row, Watchdog, measure, user_nobody, watching
from tests.conformance.shapes import SHAPES, Shape
from tests.conformance.witness import WITNESSES, WitnessNotGranted

HEAD = ("shape", "method", "programmed", "witness", "reported", "error", "uncertainty", "survivors", "")
FORM = "{:<18} {:<16} {:>10} {:>10} {:>10} {:>8} {:>11} {:>9}  {}"


def main() -> int:
    """Print the table; 1 if something in it does not conform."""
    options = _options()
    command = shlex.split(options.watchdog) if options.watchdog else OURS
    try:
        return _run(options, command)
    except WitnessNotGranted as refusal:
        print(f"no witness {options.witness}: {refusal}", file=sys.stderr)
        return 2


def _run(options: argparse.Namespace, command: Sequence[str]) -> int:
    rows: list[Row] = []
    with (
        tempfile.TemporaryDirectory(prefix="jobspan-conformance-") as name,
        watching(command, options.witness) as watchdog,
    ):
        Path(name).chmod(0o711)
        absent = [each for each in options.method or () if each not in watchdog.granted]
        if absent:
            granted = ", ".join(watchdog.granted)
            print(f"not granted here: {', '.join(absent)}; take of {granted}", file=sys.stderr)
            return 2
        runs = list(_runs(options, watchdog))
        _introduce(watchdog, options.burn, len(runs))
        for number, (shape, method, user, is_killed) in enumerate(runs):
            if number and is_killed and not runs[number - 1][3]:
                print("killed in the middle; programmed is what it would have been")
            rows.append(
                measure(
                    watchdog,
                    shape,
                    method,
                    burn_seconds=options.burn,
                    folder=Path(name),
                    user=user,
                    is_killed=is_killed,
                )
            )
            print(line(rows[-1]), flush=True)
    return _conclude(rows, options.json)


def line(row: Row) -> str:
    """One line of the table."""
    method = f"{row.method} {row.user}".strip()
    if row.not_granted:
        return FORM.format(row.shape.name, method, *["-"] * 6, row.not_granted)
    reference = "-" if row.reference is None else f"{row.reference:.3f}"
    error = "-" if row.error is None else f"{row.error:+.3f}"
    verdict = "; ".join(row.problems()) or ("ok, a lower bound" if row.uncertainty > 0.1 else "ok")
    figures = (f"{row.programmed:.3f}", reference, f"{row.reported:.3f}", error, f"{row.uncertainty:.3f}")
    return FORM.format(row.shape.name, method, *figures, row.survivors, verdict)


def worst(rows: list[Row]) -> Iterator[tuple[str, float, int]]:
    """By method: the largest error of the shapes that can be counted, and the survivors of all."""
    for method in dict.fromkeys(row.method for row in rows):
        ran = [row for row in rows if row.method == method and not row.not_granted]
        errors = [abs(row.error) for row in ran if row.error is not None]
        yield method, max(errors, default=0.0), sum(row.survivors for row in ran)


def _runs(options: argparse.Namespace, watchdog: Watchdog) -> Iterator[tuple[Shape, str, dict[str, Any] | None, bool]]:
    shapes = [each for each in SHAPES if not options.shape or each.name in options.shape]
    methods = options.method or watchdog.granted
    nobody = user_nobody()
    for user in (None, nobody) if nobody else (None,):
        yield from ((shape, method, user, False) for shape, method in product(shapes, methods))
    yield from ((shape, method, None, True) for shape, method in product(shapes, methods))


def _introduce(watchdog: Watchdog, burn_seconds: float, count: int) -> None:
    print(f"{watchdog.name}; {burn_seconds:g} s of CPU in each of {count} programs; all in seconds of CPU")
    for method, (is_granted, reason) in watchdog.methods.items():
        print(f"  {method}: {'granted' if is_granted else 'not granted'}: {reason}")
    print(f"witness: {watchdog.witness.name}: {watchdog.witness.what}")
    print(FORM.format(*HEAD), flush=True)


def _conclude(rows: list[Row], file: Path | None) -> int:
    for method, error, survivors in worst(rows):
        print(f"{method}: error at most {error:.3f} s, {survivors} survivors")
    failed = sum(bool(each.problems()) for each in rows)
    absent = sum(bool(each.not_granted) for each in rows)
    print(f"{len(rows) - failed - absent} conform, {failed} do not, {absent} could not be run")
    if file:
        file.write_text(json.dumps([_plain(each) for each in rows], indent=1) + "\n")
    return min(failed, 1)


def _plain(row: Row) -> dict[str, Any]:
    return {**vars(row), "shape": row.shape.name, "error": row.error, "problems": row.problems()}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [each.name for each in SHAPES]
    parser.add_argument("--burn", type=float, default=1.0, metavar="SECONDS", help="CPU of each program (%(default)s)")
    parser.add_argument("--shape", action="append", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--method", action="append", metavar="NAME", help="only this one; may be repeated")
    parser.add_argument("--witness", default="", choices=tuple(WITNESSES), help="not the best one that is granted")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all rows to this file too")
    parser.add_argument(
        "--watchdog", metavar="COMMAND", help="an adapter of another watchdog, see README.md beside this"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
