"""OTLP/JSON, a line for each export: our files, and those of a collector's file exporter.

An event has some seventy attributes, of which we want a quarter. To parse all of it takes four times as long as to look
for these, which works because within JSON a quote in a text is never bare. Whatever does not look as expected (white
space, escapes, another order) is parsed in full, and what cannot be parsed is counted.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from telemetry import catalogue
from telemetry.live.otlp import NotOtlp, accounting_of
from telemetry.reconcile.columns import from_record
from telemetry.reconcile.sources.records import RECORD_TYPES, keep_flat
from telemetry.reconcile.workbench import Workbench

FIELDS = {field: kind for field, kind in RECORD_TYPES.items() if field != "ArrivalTime"}
_NAMES = {catalogue.accounting_attribute(name).removeprefix(catalogue.ACCOUNTING_PREFIX): name for name in FIELDS}
_ATTRIBUTE = re.compile(
    b'"jobspan\\.accounting\\.(' + "|".join(map(re.escape, _NAMES)).encode() + b')","value":{"\\w+":("[^"]*"|[^,}]+)'
)
#: Begins the attributes of a record (and of a resource, and of a scope).
_ATTRIBUTES = b'"attributes":'
_FIELD = {short.encode(): f'"{name}":'.encode() for short, name in _NAMES.items()}
_NEEDED = frozenset(
    catalogue.accounting_attribute(name).removeprefix(catalogue.ACCOUNTING_PREFIX).encode()
    for name in ("UID", "JobID", "Attempt", "RecordedBy", "EndTime", "WallClockTime", "CPUTime", "Processors")
)
#: A file is read in pieces of this size, by as many processes as there are.
_PIECE = 32 << 20
_BUFFER = 4096


@dataclass(frozen=True)
class Piece:
    """The lines of a file that begin from *begin* up to *end*, and the file that they are flattened into."""

    path: Path
    begin: int
    end: int
    into: Path


#: How pieces are worked on: one after the other, as `map` does, or by several processes.
Spread = Callable[[Callable[[Piece], int], Iterable[Piece]], Iterable[int]]


def read(bench: Workbench, name: str, paths: list[Path], spread: Spread = map) -> tuple[str, list[str]]:
    """The accounting events of *paths* as a relation of our columns, and sentences about what is damaged."""
    pieces = list(_pieces(paths, bench.engine.folder, name))
    damaged = sum(spread(flatten, pieces)) if len(pieces) > 1 else sum(map(flatten, pieces))
    relation = keep_flat(bench, name, [each.into for each in pieces], FIELDS, from_record(FIELDS))
    problems = [f"{name}: {damaged} lines of OTLP are damaged"] if damaged else []
    return relation, problems


def flatten(piece: Piece) -> int:
    """Write the records of *piece*, a line of flat JSON each; how many lines were damaged."""
    damaged = 0
    batch: list[bytes] = []
    with piece.into.open("wb") as into:
        for line in _lines(piece):
            try:
                batch.extend(_flat(line))
            except NotOtlp:
                damaged += 1
            if len(batch) >= _BUFFER:
                into.write(b"".join(batch))
                batch.clear()
        into.write(b"".join(batch))
    return damaged


def _pieces(paths: list[Path], folder: Path, name: str) -> Iterator[Piece]:
    number = 0
    for path in paths:
        for begin in range(0, max(path.stat().st_size, 1), _PIECE):
            yield Piece(path, begin, begin + _PIECE, folder / f"{name}-{number}.jsonl")
            number += 1


def _lines(piece: Piece) -> Iterator[bytes]:
    """Whole lines; a last one of the file that has no end yet is left alone, as it is being written."""
    with piece.path.open("rb") as file:
        position = piece.begin
        if position:
            file.seek(position - 1)  # so that a line that begins just here is not skipped with the one before
            position += len(file.readline()) - 1
        while position < piece.end and (line := file.readline()).endswith(b"\n"):
            position += len(line)
            if line.strip():
                yield line


def _flat(line: bytes) -> Iterator[bytes]:
    """The records in *line*, each as a line of flat JSON.

    Raises:
        NotOtlp: it is not OTLP.
    """
    if not line.startswith(b"{") or not line.rstrip().endswith(b"}"):
        raise NotOtlp("not a line of JSON")
    if b"jobspan.accounting." not in line:
        return
    flat: list[bytes] = []
    for part in line.split(_ATTRIBUTES):
        found = _ATTRIBUTE.findall(part)
        if not found:
            continue
        if b"\\" in part or not _NEEDED.issubset(values := dict(found)) or len(values) != len(found):
            flat.clear()
            break
        flat.append(b"{" + b",".join([_FIELD[name] + value for name, value in found]) + b"}\n")
    yield from flat or _parsed(line)


def _parsed(line: bytes) -> Iterator[bytes]:
    for event in accounting_of(line, 0):
        values = {field: event.record[field] for field in FIELDS if event.record.get(field) is not None}
        yield json.dumps(values).encode() + b"\n"
