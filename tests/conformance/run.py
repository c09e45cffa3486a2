"""All shapes against all methods of a watchdog, as a table.

    python tests/conformance/run.py [--burn 2] [--shape NAME]... [--method NAME]... [--json FILE] [--watchdog COMMAND]

COMMAND is an adapter as README.md beside this describes it; without it, our own watchdog is measured.
"""

import argparse
import json
import shlex
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.conformance.bench import OURS, Row, Watchdog, measure, user_nobody, watching
from tests.conformance.shapes import SHAPES

HEAD = ("shape", "method", "programmed", "reference", "reported", "error", "uncertainty", "survivors", "")
FORM = "{:<18} {:<16} {:>10} {:>10} {:>10} {:>8} {:>11} {:>9}  {}"


def main() -> int:
    """Print the table; 1 if something in it does not conform."""
    options = _options()
    shapes = [each for each in SHAPES if not options.shape or each.name in options.shape]
    command = shlex.split(options.watchdog) if options.watchdog else OURS
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="jobspan-conformance-") as name, watching(command) as watchdog:
        folder = Path(name)
        folder.chmod(0o711)
        methods = options.method or watchdog.granted
        print(f"{watchdog.name}; {options.burn:g} s of CPU in each program; all in seconds of CPU")
        for method, (is_granted, reason) in watchdog.methods.items():
            print(f"  {method}: {'granted' if is_granted else 'not granted'}: {reason}")
        print(FORM.format(*HEAD))
        for user in (None, user_nobody()) if user_nobody() else (None,):
            for row in _rows(watchdog, folder, (shapes, methods), options.burn, user):
                rows.append(row)
                print(line(row), flush=True)
    failed = sum(bool(each.problems()) for each in rows)
    absent = sum(bool(each.not_granted) for each in rows)
    print(f"{len(rows) - failed - absent} conform, {failed} do not, {absent} could not be run")
    if options.json:
        options.json.write_text(json.dumps([_plain(each) for each in rows], indent=1) + "\n")
    return min(failed, 1)


def line(row: Row) -> str:
    """One line of the table."""
    method = f"{row.method} {row.user}".strip()
    if row.not_granted:
        return FORM.format(row.shape.name, method, *["-"] * 6, row.not_granted)
    reference = "-" if row.reference is None else f"{row.reference:.3f}"
    verdict = "; ".join(row.problems()) or ("ok, a lower bound" if row.uncertainty > 0.1 else "ok")
    figures = (f"{row.programmed:.3f}", reference, f"{row.reported:.3f}", f"{row.error:+.3f}", f"{row.uncertainty:.3f}")
    return FORM.format(row.shape.name, method, *figures, row.survivors, verdict)


def _rows(
    watchdog: Watchdog,
    folder: Path,
    what: tuple[list[Any], list[str]],
    burn_seconds: float,
    user: dict[str, Any] | None,
) -> Iterator[Row]:
    for shape in what[0]:
        for method in what[1]:
            yield measure(watchdog, shape, method, burn_seconds=burn_seconds, folder=folder, user=user)


def _plain(row: Row) -> dict[str, Any]:
    return {**vars(row), "shape": row.shape.name, "error": row.error, "problems": row.problems()}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--burn", type=float, default=2.0, metavar="SECONDS")
    parser.add_argument("--shape", action="append", choices=[each.name for each in SHAPES], metavar="NAME")
    parser.add_argument("--method", action="append", metavar="NAME")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--watchdog", metavar="COMMAND")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
