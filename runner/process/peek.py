"""The last lines of a payload's output, and exact counts of all of them. Pure."""

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from telemetry.facts import OutputSeen, Stream

#: What a peek shows at most, however long the lines are; it travels with every heartbeat.
PEEK_TEXT_BYTES = 64 << 10
#: NUL is the one character that databases refuse; shown as its picture.
_NUL, _NUL_PICTURE = "\0", "\N{SYMBOL FOR NULL}"
_SPACE = re.compile(rb"[ \r\t]")


@dataclass
class _Counts:
    """Totals of one stream, and its line that has no end yet."""

    lines: int = 0
    bytes: int = 0
    #: Whether a line is open: begun, not ended by a newline.
    is_open: bool = False
    #: The end of the open line, at most as long as the limit.
    open_line: bytearray = field(default_factory=bytearray)
    #: Whether the open line has lost its beginning to the limit.
    is_cut: bool = False


@dataclass(frozen=True)
class _Line:
    stream: Stream
    text: bytes


@dataclass(frozen=True)
class Piece:
    """A piece of one stream: *data* begins at its byte *start*, counted over all that the stream ever got."""

    start: int
    data: bytes
    #: Whether it begins where a word begins, and does not cut one in two.
    is_clean: bool = True

    @property
    def end(self) -> int:
        """The byte after its last."""
        return self.start + len(self.data)

    def after(self, position: int) -> "Piece":
        """What of it lies at *position* and after it."""
        skipped = min(max(0, position - self.start), len(self.data))
        if not skipped:
            return self
        return Piece(self.start + skipped, self.data[skipped:], self.data[skipped - 1 : skipped].isspace())


def shown(piece: Piece, most_bytes: int, *, ended: bool) -> Piece:
    """What of *piece* may be shown: it is cut at the ends of lines only, so that what masks secrets sees them whole.

    Unless the stream has *ended*, a line without an end is kept back until it ends; when it fills all of
    *most_bytes* it is cut at white space, and left out where it has none.
    """
    data, begin, end = piece.data, 0, len(piece.data)
    if not piece.is_clean:
        begin = data.find(b"\n") + 1 or _first_space(data) + 1 or end
    if not ended:
        end = data.rfind(b"\n") + 1
        if end <= begin:
            end = begin if len(data) - begin < most_bytes else _last_space(data) + 1
            if end <= begin and len(data) - begin >= most_bytes:
                begin = end = len(data)
    return Piece(piece.start + begin, data[begin:end])


def _first_space(data: bytes) -> int:
    found = _SPACE.search(data)
    return found.start() if found else -1


def _last_space(data: bytes) -> int:
    return max(data.rfind(each) for each in (b" ", b"\r", b"\t"))


def last_words(data: bytes, most_bytes: int, *, is_cut: bool = False) -> bytes:
    """The last *most_bytes* of *data*: if that cuts it, or it *is_cut* already, from a whole line or word on."""
    if len(data) <= most_bytes and not is_cut:
        return data
    data = data[-most_bytes:]
    line = data.find(b"\n") + 1
    return data[line:] if 0 < line < len(data) else data[_first_space(data) + 1 or len(data) :]


def whole_words(data: bytes) -> bytes:
    """*data* without the word at its end, of which more may come."""
    return data[: _last_space(data) + 1]


def text_of(data: bytes) -> str:
    """*data* as text that any receiver can take: undecodable bytes are shown as U+FFFD."""
    return data.decode(errors="replace").replace(_NUL, _NUL_PICTURE)


class Peek:
    """Takes the output of both streams piece by piece, in the order in which it was read."""

    def __init__(self, max_lines: int, buffer_limit_bytes: int) -> None:
        """Hold the last *max_lines* of both streams together, of each stream at most *buffer_limit_bytes*."""
        self._max_lines = max_lines
        self._limit_bytes = buffer_limit_bytes
        self._counts: dict[Stream, _Counts] = {"stdout": _Counts(), "stderr": _Counts()}
        self._lines: deque[_Line] = deque()
        self._held_bytes: dict[Stream, int] = {"stdout": 0, "stderr": 0}
        #: A piece with more lines than we hold, counted, whose lines are taken only if no other such piece follows.
        self._late: tuple[Stream, bytes, int] | None = None

    def add(self, stream: Stream, data: bytes) -> None:
        """The next piece of *stream*; it may begin and end anywhere, inside a character too."""
        if not data:
            return
        counts = self._counts[stream]
        newlines = data.count(b"\n")
        counts.bytes += len(data)
        counts.lines += newlines
        if newlines > self._max_lines and self._late is not None and self._late[0] == stream:
            self._late = (stream, data, newlines)  # nothing of the earlier piece would stay
            return
        self.settle()
        if newlines > self._max_lines:
            self._late = (stream, data, newlines)
        else:
            self._take(stream, data, newlines)

    def settle(self) -> None:
        """Take in what was put off: in a long row of pieces only the lines of the last one matter."""
        if self._late is not None:
            late, self._late = self._late, None
            self._take(*late)

    def _take(self, stream: Stream, data: bytes, newlines: int) -> None:
        counts = self._counts[stream]
        if newlines:
            self._keep_last(stream, data, newlines)
        rest = data[data.rfind(b"\n") + 1 :]
        counts.is_open = bool(rest) or (counts.is_open and not newlines)
        self._extend(counts, rest)
        self._bound(stream)

    def seen(self, stream: Stream) -> OutputSeen:
        """Totals of *stream*; an open line counts as a line. Dropped is what the peek no longer shows."""
        self.settle()
        counts = self._counts[stream]
        shown = min(self._max_lines, sum(line.stream == stream for line in self._lines) + counts.is_open)
        lines = counts.lines + counts.is_open
        return OutputSeen(stream=stream, lines=lines, bytes=counts.bytes, peek_lines_dropped=lines - shown)

    def text(self, *, ended: bool = False) -> str:
        """The last lines, open ones at the end; undecodable bytes are shown as U+FFFD.

        It is cut between lines or words only, so that what masks secrets sees them whole: unless the streams have
        *ended*, of an open line the last word is kept back.
        """
        self.settle()
        held = [line.text + b"\n" for line in self._lines]
        for counts in self._counts.values():
            if counts.is_open:
                line = last_words(bytes(counts.open_line), self._limit_bytes, is_cut=counts.is_cut)
                held.append(line if ended else whole_words(line))
        held = held[-self._max_lines :] if self._max_lines else []
        whole = b"".join(_apart(held))
        return text_of(last_words(whole, PEEK_TEXT_BYTES))

    def _keep_last(self, stream: Stream, data: bytes, newlines: int) -> None:
        """Take in the complete lines of *data*, of which only the last can matter."""
        counts = self._counts[stream]
        end = data.rfind(b"\n")
        start = end
        for _ in range(min(newlines, self._max_lines)):
            start = data.rfind(b"\n", 0, start)
        lines = data[start + 1 : end].split(b"\n") if self._max_lines else []
        is_cut = False
        if lines and newlines <= self._max_lines:  # the first of them ends the open line
            self._extend(counts, lines[0])
            lines[0], is_cut = bytes(counts.open_line), counts.is_cut
        counts.open_line.clear()
        counts.is_cut = False
        for line in lines:
            text = last_words(line, self._limit_bytes, is_cut=is_cut)
            is_cut = False
            self._lines.append(_Line(stream, text))
            self._held_bytes[stream] += len(text)

    def _extend(self, counts: _Counts, rest: bytes) -> None:
        counts.open_line += rest
        counts.is_cut = counts.is_cut or len(counts.open_line) > self._limit_bytes
        del counts.open_line[: -self._limit_bytes]

    def _bound(self, stream: Stream) -> None:
        while len(self._lines) > self._max_lines:
            line = self._lines.popleft()
            self._held_bytes[line.stream] -= len(line.text)
        open_line = self._counts[stream].open_line
        while self._held_bytes[stream] and self._held_bytes[stream] + len(open_line) > self._limit_bytes:
            first = next(line for line in self._lines if line.stream == stream)
            self._lines.remove(first)
            self._held_bytes[stream] -= len(first.text)


def _apart(held: list[bytes]) -> Iterator[bytes]:
    """*held*, each from a line of its own on."""
    end = b"\n"
    for each in filter(None, held):
        yield each if end == b"\n" else b"\n" + each
        end = each[-1:]
