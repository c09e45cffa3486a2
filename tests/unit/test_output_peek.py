"""The peek: exact counts, and text that any receiver can take."""

import pytest

from runner.process.peek import PEEK_TEXT_BYTES, Peek, Piece, shown


def peek_of(*pieces: bytes, lines: int = 3, limit: int = 1024) -> Peek:
    """A peek that has taken *pieces* of stdout."""
    peek = Peek(lines, limit)
    for piece in pieces:
        peek.add("stdout", piece)
    return peek


@pytest.mark.parametrize(
    ("pieces", "lines", "text"),
    [
        ((), 0, ""),
        ((b"",), 0, ""),
        ((b"a\n",), 1, "a\n"),
        ((b"a",), 1, "a"),
        ((b"a\nb",), 2, "a\nb"),
        ((b"a\n", b"b\n", b"c\n", b"d\n"), 4, "b\nc\nd\n"),
        ((b"a\nb\nc\nd\ne\n",), 5, "c\nd\ne\n"),
        ((b"a\nb\nc\nd",), 4, "b\nc\nd"),
        ((b"hel", b"lo\nwor", b"ld\n"), 2, "hello\nworld\n"),
        ((b"\n\n",), 2, "\n\n"),
        ((b"a\0b\n",), 1, "a\N{SYMBOL FOR NULL}b\n"),
        ((b"\xff\xfe\n",), 1, "\ufffd\ufffd\n"),
        ((b"\xc3", b"\xa9\n"), 1, "é\n"),
        ((b"x\xe2\x82",), 1, "x"),
        ((b"x\xf0\x9f\x98\x80",), 1, "x😀"),
    ],
)
def test_lines_and_text(pieces: tuple[bytes, ...], lines: int, text: str) -> None:
    """However the output is cut into pieces, each line counts once, and the last three are shown."""
    peek = peek_of(*pieces)
    assert peek.text() == text
    seen = peek.seen("stdout")
    assert (seen.lines, seen.bytes) == (lines, sum(map(len, pieces)))
    assert seen.peek_lines_dropped == max(0, lines - 3)


def test_both_streams_share_the_peek() -> None:
    """The last lines of both are shown in the order in which they came; each has its own totals."""
    peek = Peek(3, 1024)
    for stream, data in (("stdout", b"1\n2\n"), ("stderr", b"e\n"), ("stdout", b"3\n")):
        peek.add(stream, data)  # type: ignore[arg-type]
    assert peek.text() == "2\ne\n3\n"
    assert peek.seen("stdout").peek_lines_dropped == 1
    assert peek.seen("stderr").peek_lines_dropped == 0


def test_an_endless_line_is_bounded() -> None:
    """A line without an end is counted in bytes and shown by its end; it holds no more than BufferLimit."""
    peek = peek_of(*[b"x" * 1000] * 1000, b"END", limit=2048)
    assert len(peek.text()) == 2048
    assert peek.text().endswith("END")
    assert peek.seen("stdout").bytes == 1_000_003
    assert peek.seen("stdout").lines == 1


def test_long_lines_are_bounded_together() -> None:
    """Lines are dropped, oldest first, when together they exceed BufferLimit."""
    peek = peek_of(b"a" * 1000 + b"\n", b"b" * 1000 + b"\n", b"c" * 10 + b"\n", limit=1500)
    assert peek.text() == "b" * 1000 + "\n" + "c" * 10 + "\n"
    assert peek.seen("stdout").peek_lines_dropped == 1


def test_no_peek_at_all() -> None:
    """With MaxJobPeekLines 0 nothing is shown, and everything is counted."""
    peek = peek_of(b"a\nb\nc", lines=0)
    assert peek.text() == ""
    assert (peek.seen("stdout").lines, peek.seen("stdout").peek_lines_dropped) == (3, 3)


def test_text_is_bounded_and_cut_between_characters() -> None:
    """What travels with a heartbeat is at most 64 KiB, and begins with a whole character."""
    text = peek_of("é".encode() * PEEK_TEXT_BYTES + b"x\n", limit=1 << 30).text()
    assert len(text.encode()) <= PEEK_TEXT_BYTES
    assert "\ufffd" not in text


def piece(data: bytes, start: int = 0, *, is_clean: bool = True) -> Piece:
    """A piece of a stream."""
    return Piece(start, data, is_clean)


@pytest.mark.parametrize(
    ("given", "most", "ended", "start", "data"),
    [
        (piece(b"a\nb\nrest"), 100, False, 0, b"a\nb\n"),
        (piece(b"a\nb\nrest"), 100, True, 0, b"a\nb\nrest"),
        (piece(b"rest"), 100, False, 0, b""),
        (piece(b"cut off\nwhole\n", 50, is_clean=False), 100, False, 58, b"whole\n"),
        (piece(b"cut off by space", 50, is_clean=False), 100, True, 54, b"off by space"),
        (piece(b"cut", 50, is_clean=False), 100, True, 53, b""),
        (piece(b"long line without"), 17, False, 0, b"long line "),
        (piece(b"longlinewithoutany"), 18, False, 18, b""),
        (piece(b"cut\nopen line", 10, is_clean=False), 13, False, 14, b""),
        (piece(b""), 100, True, 0, b""),
    ],
)
def test_only_whole_lines_are_shown(given: Piece, most: int, ended: bool, start: int, data: bytes) -> None:
    """A piece is cut at the ends of lines, one endless line at white space; what cannot be cut is left out."""
    found = shown(given, most, ended=ended)
    assert (found.start, found.data) == (start, data)


def test_a_piece_from_a_position_on() -> None:
    """What lies before the position goes; whether a word is cut in two is known."""
    whole = piece(b"one two\n", 10)
    assert whole.after(5) is whole
    assert whole.after(14) == Piece(14, b"two\n", True)
    assert whole.after(15) == Piece(15, b"wo\n", False)
    assert whole.after(99) == Piece(18, b"", True)
