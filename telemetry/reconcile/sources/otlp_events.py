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
_LAYOUTS = 4
_BLOCK = 1 << 20


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
    with piece.into.open("wb") as into, piece.parsed.open("w") as parsed:
        for block in _blocks(piece):
            is_plain = _is_plain(block)
            rows: list[bytes] = []
            position = 0
            while position < len(block):
                end = block.index(b"\n", position)
                try:
                    is_fit = is_plain or _is_plain_line(block[position:end])
                    if not is_fit or not _take(block, position, end, layouts, rows):
                        parsed.writelines(_parsed(block[position:end]))
                except ValueError:
                    damaged += 1
                position = end + 1
            into.write(b"".join(rows))
    return damaged


def _blocks(piece: Piece) -> Iterator[bytes]:
    """Whole lines, some at a time; a last one of the file that has no end yet is left alone, as it is being written."""
    with piece.path.open("rb") as file:
        position = piece.begin
        if position:
            file.seek(position - 1)  # so that a line that begins just here is not skipped with the one before
            position += len(file.readline()) - 1
        while position < piece.end:
            block = file.read(min(_BLOCK, piece.end - position))
            if not block.endswith(b"\n"):
                block += file.readline()
            position += len(block)
            yield block[: block.rfind(b"\n") + 1]
            if not block.endswith(b"\n"):
                return


def _is_plain(text: bytes) -> bool:
    """Whether a quote always ends a text, and nothing is mistaken for the end of a value; for many lines at once."""
    return text.isascii() and b"\\" not in text and SEPARATOR not in text


def _is_plain_line(line: bytes) -> bool:
    """The same of a line that may have any letters.

    Raises:
        UnicodeDecodeError: it is no text.
    """
    if b"\\" in line or SEPARATOR in line:
        return False
    line.decode()
    return True


def _take(block: bytes, position: int, end: int, layouts: "_Layouts", rows: list[bytes]) -> bool:
    """Add the records in the line from *position* to *end*, a row each; False: it must be parsed."""
    if not block.startswith(_BEGIN, position, end) or not block.endswith(_END, position, end):
        return False
    before = len(rows)
    begin = block.find(_PREFIX, position, end)
    while begin >= 0:
        close = block.find(b"]", begin, end)  # of the attributes, or in them: then what is missing is not found
        row = layouts.row(block, begin, close) if close >= 0 else None
        if row is None:
            del rows[before:]
            return False
        rows.append(row)
        begin = block.find(_PREFIX, close, end)
    return True


def _parsed(line: bytes) -> list[str]:
    """The records in *line*, each as a line of flat JSON; none if it is blank.

    Raises:
        NotOtlp: it is not OTLP.
    """
    from telemetry.live.otlp import accounting_of  # brings the whole of OpenTelemetry, which few lines need

    if not line.strip():
        return []
    records = (event.record for event in accounting_of(line, 0))
    found = ({field: record[field] for field in FIELDS if record.get(field) is not None} for record in records)
    return [json.dumps(each, allow_nan=False) + "\n" for each in found]


class _Layouts:
    """The layouts of the last events that were new."""

    def __init__(self) -> None:
        self._known: list[_Layout] = []

    def row(self, block: bytes, begin: int, end: int) -> bytes | None:
        """The row of the event whose attributes *block* has from *begin* to *end*; None: it is not understood."""
        for layout in self._known:
            if (row := layout.row(block, begin, end)) is not None:
                return row
        found = list(_ATTRIBUTE.finditer(block, begin, end))
        if sorted(each[1].decode() for each in found) != sorted(_NAMES):
            return None
        layout = _Layout(begin, found)
        self._known = [layout, *self._known[: _LAYOUTS - 1]]
        return layout.row(block, begin, end)


class _Layout:
    """In which order an event has the attributes, of which types, and how far apart at least."""

    def __init__(self, begin: int, found: Sequence[re.Match[bytes]]) -> None:
        names = [each[1].decode() for each in found]
        self._in_order = itemgetter(*map(names.index, _NAMES))
        keys = [each[0][: each.start(3) - each.start()] for each in found]
        ends = (begin, *(each.end(3) for each in found))
        distances = (_less(each.start() - last) for each, last in zip(found, ends, strict=False))
        closing = (each[2] or b"}" for each in found)
        #: Of each attribute what stands before its value, how long that is, what closes it, and from where it is
        #: looked for, counted from the end of the value before.
        self._wanted = list(zip(keys, map(len, keys), closing, distances, strict=True))

    def row(self, block: bytes, begin: int, end: int) -> bytes | None:
        """The values between *begin* and *end*; None: it is another layout."""
        values = []
        find, position = block.find, begin
        for key, length, closing, distance in self._wanted:
            at = find(key, position + distance, end) + length
            if at < length:  # it is nearer than ever, or not there
                return self.row(block, begin, end) if self._learn(block, begin, end) else None
            position = find(closing, at, end)
            if position < 0:
                return None
            values.append(block[at:position])
        return SEPARATOR.join(self._in_order(values)) + b"\n"

    def _learn(self, block: bytes, begin: int, end: int) -> bool:
        """Look for everything anywhere, and from then on where it was; whether it is there."""
        nearer = []
        position = begin
        for key, length, closing, distance in self._wanted:
            at = block.find(key, position, end)
            if at < 0:
                return False
            nearer.append((key, length, closing, min(distance, _less(at - position))))
            position = block.find(closing, at + length, end)
            if position < 0:
                return False
        self._wanted = nearer
        return True


def _less(distance: int) -> int:
    """Where to look first for what was so far away: other values may be a little shorter."""
    return max(distance - 8 - distance // 16, 0)


def pieces_of(path: Path, size: int, folder: Path, name: str) -> Iterator[Piece]:
    """All of *path* in pieces of *size*, with files in *folder* for what is taken from them."""
    for number, begin in enumerate(range(0, max(path.stat().st_size, 1), size)):
        into, parsed = (folder / f"{name}-{number}.{kind}" for kind in ("rows", "jsonl"))
        yield Piece(path, begin, begin + size, into, parsed)
