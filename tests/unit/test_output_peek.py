"""The peek: exact counts, and text that any receiver can take."""

import pytest

from runner.process.peek import PEEK_TEXT_BYTES, Peek


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
