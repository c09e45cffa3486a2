"""OTLP/JSON, a line for each export: our files, and those of a collector's file exporter.

What was taken from a file is kept until the file changes: of those that a collector has rotated only the new ones are
read.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from telemetry.reconcile import kept
from telemetry.reconcile.columns import from_record, literal, name
from telemetry.reconcile.sources.otlp_events import FIELDS, SEPARATOR, Piece, flatten, pieces_of
from telemetry.reconcile.sources.records import RECORD_TYPES
from telemetry.reconcile.workbench import Workbench

#: A file is read in pieces of this size, by as many processes as there are.
_PIECE = 32 << 20
_TYPES = {field: RECORD_TYPES[field] for field in FIELDS}
_CHOSEN = from_record(_TYPES)

#: How pieces are worked on, with what comes of them in their order: one after the other, as `map` does, or by several
#: processes.
Spread = Callable[[Callable[[Piece], int], Iterable[Piece]], Iterable[int]]


def read(bench: Workbench, source: str, paths: Sequence[Path], spread: Spread = map) -> tuple[str, list[str]]:
    """The accounting events of *paths* as a relation of our columns, and sentences about what is damaged."""
    folder = bench.engine.folder
    found = {path: folder / f"{source}-{number}.parquet" for number, path in enumerate(paths)}
    identities = {path: kept.identity([path], "OTLP, 1") for path in paths}
    pieces = {
        path: tuple(pieces_of(path, _PIECE, folder, flat.stem))
        for path, flat in found.items()
        if not kept.take(bench, flat, _CHOSEN, identities[path])
    }
    every = [each for several in pieces.values() for each in several]
    damaged = dict(zip(every, (spread if len(every) > 1 else map)(flatten, every), strict=True))
    for path, several in pieces.items():
        bench.run(f"COPY (SELECT {_CHOSEN} FROM ({_flat(several)})) TO {literal(str(found[path]))} (FORMAT parquet)")
        if not any(damaged[each] for each in several):  # else it is to be told the next time, too
            kept.keep(bench, found[path], _CHOSEN, identities[path])
        for each in several:
            each.into.unlink()
            each.parsed.unlink()
    lines = sum(damaged.values())
    return f"read_parquet([{_list(found.values())}])", [f"{source}: {lines} lines of OTLP are damaged"] if lines else []


def _flat(pieces: Sequence[Piece]) -> str:
    """The query of all values that were taken or parsed. Numbers that are none are NULL."""
    rows = [each.into for each in pieces if each.into.stat().st_size]
    parsed = [each.parsed for each in pieces if each.parsed.stat().st_size]
    typed = ", ".join(f"TRY_CAST({name(field)} AS {kind}) AS {name(field)}" for field, kind in _TYPES.items())
    columns = ", ".join(f"{literal(field)}: 'VARCHAR'" for field in FIELDS)
    parts = []
    if rows:
        options = f"delim = {literal(SEPARATOR.decode())}, quote = '', escape = '', header = false, auto_detect = false"
        parts.append(f"SELECT {typed} FROM read_csv([{_list(rows)}], {options}, columns = {{{columns}}})")
    if parsed or not rows:
        files = _list(parsed or [each.parsed for each in pieces])
        options = f"format = 'newline_delimited', columns = {{{columns}}}"
        parts.append(f"SELECT {typed} FROM read_json([{files}], {options})")
    return " UNION ALL ".join(parts)


def _list(paths: Iterable[Path]) -> str:
    return ", ".join(literal(str(path)) for path in paths)
