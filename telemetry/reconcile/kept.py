"""Parquet files worked out of others, kept until these change: a second look at these need not read them all.

What is kept is named by all that it follows from: the files (path, size, when their content and their inode changed,
inode), how they are read, the query, the engine's version. The name ends with a hash of the content, so that what is
damaged is made anew. Files that were written a moment ago may change once more at the very same time: nothing is kept
of them. What was not used for longest goes first.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import duckdb

from telemetry.clock import SystemClock
from telemetry.reconcile.columns import literal
from telemetry.reconcile.workbench import Workbench

_MOST_FILES, _MOST_BYTES = 256, 16 << 30
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


def table(bench: Workbench, name: str, query: str, source: str, identified: str) -> None:
    """Make the table *name* of *query*, in which `{}` stands for *source*, or take it as it was kept.

    *identified* is what the source follows from; empty: nothing is kept.
    """
    create = f"CREATE OR REPLACE TABLE {name} AS "
    if bench.engine.kept is None or not identified:
        bench.run(create + query.format(source))
        return
    path = bench.engine.folder / f"{name}.kept.parquet"
    if not take(bench, path, query, identified):
        bench.run(f"COPY ({query.format(source)}) TO {literal(str(path))} (FORMAT parquet)")
        keep(bench, path, query, identified)
    bench.run(f"{create}FROM read_parquet({literal(str(path))})")
    path.unlink()


def take(bench: Workbench, path: Path, query: str, identified: str) -> bool:
    """Whether the result of *query* was kept, and is at *path* now."""
    place = bench.engine.kept
    if place is None or not identified:
        return False
    named = _name(query, identified)
    for found in place.glob(f"{named}-*.parquet"):
        with contextlib.suppress(FileNotFoundError):  # somebody else has tidied up
            _link(found, path)
            if found.stem == f"{named}-{_digest(path)}":
                os.utime(found)
                return True
            path.unlink()
            found.unlink()
    return False


def keep(bench: Workbench, path: Path, query: str, identified: str) -> None:
    """Keep the file *path*, the result of *query*; nobody may write into it any more."""
    place = bench.engine.kept
    if place is None or not identified:
        return
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    named = _name(query, identified)
    arriving = place / f"{named}.{os.getpid()}.part"
    _link(path, arriving)
    arriving.replace(place / f"{named}-{_digest(path)}.parquet")
    held = 0
    for number, old in enumerate(sorted(place.glob("*.parquet"), key=_last_used, reverse=True)):
        with contextlib.suppress(FileNotFoundError):
            held += old.stat().st_size
            if number >= _MOST_FILES or held > _MOST_BYTES:
                old.unlink()


def _name(query: str, identified: str) -> str:
    return hashlib.sha256("\n".join((duckdb.__version__, identified, query)).encode()).hexdigest()


def _link(source: Path, target: Path) -> None:
    """*target* is *source*, whoever removes that; a copy where the folders are on two file systems."""
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copy2(source, target)


def _last_used(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]
