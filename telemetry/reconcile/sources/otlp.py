"""OTLP/JSON, a line for each export: our files, and those of a collector's file exporter."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from telemetry.reconcile.columns import from_record, literal, name
from telemetry.reconcile.sources.otlp_events import FIELDS, SEPARATOR, Piece, flatten, pieces_of
from telemetry.reconcile.sources.records import RECORD_TYPES
from telemetry.reconcile.workbench import Workbench

#: A file is read in pieces of this size, by as many processes as there are.
_PIECE = 32 << 20

#: How pieces are worked on: one after the other, as `map` does, or by several processes.
Spread = Callable[[Callable[[Piece], int], Iterable[Piece]], Iterable[int]]


def read(bench: Workbench, source: str, paths: Sequence[Path], spread: Spread = map) -> tuple[str, list[str]]:
    """The accounting events of *paths* as a relation of our columns, and sentences about what is damaged."""
    pieces = list(pieces_of(paths, _PIECE, bench.engine.folder, source))
    damaged = sum(spread(flatten, pieces)) if len(pieces) > 1 else sum(map(flatten, pieces))
    kept = literal(str(bench.engine.folder / f"{source}.parquet"))
    types = {field: RECORD_TYPES[field] for field in FIELDS}
    bench.run(f"COPY (SELECT {from_record(types)} FROM ({_flat(pieces, types)})) TO {kept} (FORMAT parquet)")
    for each in pieces:
        each.into.unlink()
        each.parsed.unlink()
    return f"read_parquet({kept})", [f"{source}: {damaged} lines of OTLP are damaged"] if damaged else []


def _flat(pieces: Sequence[Piece], types: dict[str, str]) -> str:
    """The query of all values that were taken or parsed. Numbers that are none are NULL."""
    rows = [each.into for each in pieces if each.into.stat().st_size]
    parsed = [each.parsed for each in pieces if each.parsed.stat().st_size]
    typed = ", ".join(f"TRY_CAST({name(field)} AS {kind}) AS {name(field)}" for field, kind in types.items())
    columns = ", ".join(f"{literal(field)}: 'VARCHAR'" for field in types)
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
