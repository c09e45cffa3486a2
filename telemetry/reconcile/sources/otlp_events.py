"""Accounting events of OTLP/JSON made flat, a piece of a file at a time. Light, as several processes do it, fresh ones.

An event has some seventy attributes, of which we want a quarter. To parse all of it takes ten times as long as to look
for these where they were in the event before: whoever writes events writes their attributes in one order, each about
as far from the one before as last time. In JSON a quote within a text is never bare, so as long as there is no
backslash in a line nothing else looks like an attribute, and OTLP allows no attribute twice. A line in which an event
is not complete or not as expected (white space, escapes, other types) is parsed in full; what cannot be is counted.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

from telemetry import catalogue
from telemetry.reconcile.columns import RECORD_FIELDS

#: Fields of the record that are read, in the order in which they are written.
FIELDS = tuple(
    each for each in (*RECORD_FIELDS.values(), "VO", "UserGroup", "RecordedBy", "Revision") if each != "ArrivalTime"
)
#: Between the values of a row; no text of JSON has it bare.
SEPARATOR = b"\x1f"

_NAMES = tuple(catalogue.accounting_attribute(field).removeprefix(catalogue.ACCOUNTING_PREFIX) for field in FIELDS)
_PREFIX = b'"' + catalogue.ACCOUNTING_PREFIX.encode()
_ATTRIBUTE = re.compile(
    re.escape(_PREFIX)
    + b"("
    + "|".join(map(re.escape, _NAMES)).encode()
    + rb')","value":\{"(?:string|int|double)Value":("?)([^"}]*)'
)
_BEGIN, _END = b'{"resourceLogs":[', b"]}"
#: How much nearer than last time a value is looked for at first.
_SLACK = 24
_LAYOUTS = 4
_BUFFER = 4096


@dataclass(frozen=True)
class Piece:
    """The lines of a file that begin from *begin* up to *end*.

    What is taken from them goes `into` rows of FIELDS, what had to be parsed into `parsed`, lines of flat JSON.
    """

    path: Path
    begin: int
    end: int
    into: Path
    parsed: Path


def flatten(piece: Piece) -> int:
    """Write the records of *piece*; how many lines were damaged."""
    damaged = 0
    layouts = _Layouts()
    rows: list[bytes] = []
    with piece.into.open("wb") as into, piece.parsed.open("w") as parsed:
        for line in _lines(piece):
            try:
                taken = _taken(line, layouts)
                if taken is None:
                    parsed.writelines(_parsed(line))
                else:
                    rows += taken
            except ValueError:
                damaged += 1
            if len(rows) >= _BUFFER:
                into.write(b"".join(rows))
                rows.clear()
        into.write(b"".join(rows))
    return damaged


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


def _taken(line: bytes, layouts: "_Layouts") -> list[bytes] | None:
    """The records in *line*, a row each; None: it must be parsed.

    Raises:
        UnicodeDecodeError: it is no text.
    """
    if b"\\" in line or SEPARATOR in line or not line.startswith(_BEGIN) or not line.rstrip().endswith(_END):
        return None
    if not line.isascii():
        line.decode()
    rows = []
    begin = line.find(_PREFIX)
    while begin >= 0:
        end = line.find(b"]", begin)  # of the attributes, or further on: then what is missing is not found before it
        row = layouts.row(line, begin, end) if end >= 0 else None
        if row is None:
            return None
        rows.append(row)
        begin = line.find(_PREFIX, end)
    return rows


def _parsed(line: bytes) -> list[str]:
    """The records in *line*, each as a line of flat JSON.

    Raises:
        NotOtlp: it is not OTLP.
    """
    from telemetry.live.otlp import accounting_of  # brings the whole of OpenTelemetry, which few lines need

    records = (event.record for event in accounting_of(line, 0))
    found = ({field: record[field] for field in FIELDS if record.get(field) is not None} for record in records)
    return [json.dumps(each, allow_nan=False) + "\n" for each in found]


class _Layouts:
    """The layouts of the last events that were new."""

    def __init__(self) -> None:
        self._known: list[_Layout] = []

    def row(self, line: bytes, begin: int, end: int) -> bytes | None:
        """The row of the event whose attributes *line* has from *begin* to *end*; None: it is not understood."""
        for layout in self._known:
            if (row := layout.row(line, begin, end)) is not None:
                return row
        found = list(_ATTRIBUTE.finditer(line, begin, end))
        if sorted(each[1].decode() for each in found) != sorted(_NAMES):
            return None
        layout = _Layout(begin, found)
        self._known = [layout, *self._known[: _LAYOUTS - 1]]
        return layout.row(line, begin, end)


class _Layout:
    """In which order an event has the attributes, of which types, and how far apart."""

    def __init__(self, begin: int, found: Sequence[re.Match[bytes]]) -> None:
        names = [each[1].decode() for each in found]
        self._in_order = itemgetter(*map(names.index, _NAMES))
        self._wanted = [(key := each[0][: each.start(3) - each.start()], len(key), each[2] or b"}") for each in found]
        ends = (begin, *(each.end(3) for each in found))
        self._distances = [max(each.start() - last - _SLACK, 0) for each, last in zip(found, ends, strict=False)]

    def row(self, line: bytes, begin: int, end: int) -> bytes | None:
        """The values between *begin* and *end*; None: it is another layout."""
        values = []
        position = begin
        for number, (key, length, closing) in enumerate(self._wanted):
            at = line.find(key, position + self._distances[number], end)
            if at < 0:  # it is nearer than ever, or not there
                at = line.find(key, position, end)
                if at < 0:
                    return None
                self._distances[number] = max(at - position - _SLACK, 0)
            at += length
            position = line.find(closing, at, end)
            if position < 0:
                return None
            values.append(line[at:position])
        return SEPARATOR.join(self._in_order(values)) + b"\n"


def pieces_of(path: Path, size: int, folder: Path, name: str) -> Iterator[Piece]:
    """All of *path* in pieces of *size*, with files in *folder* for what is taken from them."""
    for number, begin in enumerate(range(0, max(path.stat().st_size, 1), size)):
        into, parsed = (folder / f"{name}-{number}.{kind}" for kind in ("rows", "jsonl"))
        yield Piece(path, begin, begin + size, into, parsed)
