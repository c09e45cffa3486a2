"""Tables worked out of files, kept until the files change: a second look at files of any size need not read them all.

What is kept is named by all that it follows from: the files (path, size, when their content and their inode changed,
inode), how they are read, the query, the engine's version. The name ends with a hash of the content, so that what is
damaged is made anew. Files that were written a moment ago may change once more at the very same time: nothing is kept of them.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

import duckdb

from telemetry.clock import SystemClock
from telemetry.reconcile.columns import literal
from telemetry.reconcile.workbench import Workbench

#: So many tables are kept, those that were used last.
_MOST = 64
_MOMENT_SECONDS = 2.0


def identity(paths: Iterable[Path], how: str) -> str:
    """What a relation follows from that reads *paths* in the way *how*; empty: it may not be kept."""
    found = [(path.resolve(), path.stat()) for path in paths]
    now_ns = SystemClock().utc_ns()
    if any(now_ns - max(stat.st_mtime_ns, stat.st_ctime_ns) < _MOMENT_SECONDS * 1e9 for _, stat in found):
        return ""
    held = [
        (str(path), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_dev, stat.st_ino) for path, stat in found
    ]
    return json.dumps([held, how])


def make(bench: Workbench, table: str, query: str, source: str, identified: str) -> None:
    """Make *table* of *query*, in which `{}` stands for *source*, or take the one that was kept.

    *identified* is what the source follows from; empty: nothing is kept.
    """
    place, create = bench.engine.kept, f"CREATE OR REPLACE TABLE {table} AS "
    if place is None or not identified:
        bench.run(create + query.format(source))
        return
    named = hashlib.sha256("\n".join((duckdb.__version__, identified, query)).encode()).hexdigest()
    if not _take(bench, place, named, create):
        bench.run(create + query.format(source))
        _keep(bench, place, named, table)


def _take(bench: Workbench, place: Path, named: str, create: str) -> bool:
    """Whether what is called so was there, and whole."""
    for path in place.glob(f"{named}-*.parquet"):
        with contextlib.suppress(OSError, duckdb.Error):  # as good as none
            if path.stem == f"{named}-{_digest(path)}":
                bench.run(f"{create}FROM read_parquet({literal(str(path))})")
                os.utime(path)
                return True
        path.unlink(missing_ok=True)
    return False


def _keep(bench: Workbench, place: Path, named: str, table: str) -> None:
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = bench.engine.folder / f"{table}.kept"
    bench.run(f"COPY {table} TO {literal(str(part))} (FORMAT parquet)")
    arriving = place / f"{named}.{os.getpid()}.part"  # the folders may be on two file systems
    arriving.write_bytes(part.read_bytes())
    part.unlink()
    arriving.replace(place / f"{named}-{_digest(arriving)}.parquet")
    for old in sorted(place.glob("*.parquet"), key=_last_used, reverse=True)[_MOST:]:
        old.unlink(missing_ok=True)


def _last_used(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # another run has tidied up
        return 0.0


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]
