"""The peek: exact counts, and text that any receiver can take."""

import pytest

from runner.process.peek import PEEK_TEXT_BYTES, Peek, Piece, shown
from runner.redaction import Redactor

#: No character of it stands in the rest of what is written here.
SECRET = "QWZ-KVJ-QWZ"


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
        ((b"x\xe2\x82",), 1, "x\ufffd"),
        ((b"x\xf0\x9f\x98\x80",), 1, "x😀"),
    ],
)
def test_lines_and_text(pieces: tuple[bytes, ...], lines: int, text: str) -> None:
    """However the output is cut into pieces, each line counts once, and at the end the last three are shown."""
    peek = peek_of(*pieces)
    assert peek.text(ended=True) == text
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


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        ((b"a",), ""),
        ((b"a\nb",), "a\n"),
        ((b"a\nb c",), "a\nb "),
        ((b"a\n 5%\r10%",), "a\n 5%\r"),
        ((b"x y\xe2\x82",), "x "),
    ],
)
def test_the_word_that_is_being_written_is_kept_back(pieces: tuple[bytes, ...], text: str) -> None:
    """Of an open line whole words are shown, so that what masks secrets never sees half of one."""
    assert peek_of(*pieces).text() == text


def test_open_lines_of_both_streams() -> None:
    """Each stands on a line of its own."""
    peek = Peek(3, 1024)
    peek.add("stdout", b"one two")
    peek.add("stderr", b"three four")
    assert peek.text() == "one \nthree "
    assert peek.text(ended=True) == "one two\nthree four"


def shows_nothing_of(secret: str, peek: Peek) -> bool:
    """Whether no character of *secret* is left when it is masked."""
    return all(not set(secret) & set(Redactor([secret])(peek.text(ended=ended))) for ended in (False, True))


@pytest.mark.parametrize("after", [b" ", b"\n"])
@pytest.mark.parametrize("shown_bytes", range(len(SECRET) + 2))
def test_a_secret_across_the_beginning_of_the_text(shown_bytes: int, after: bytes) -> None:
    """Wherever the text that travels is cut, it is masked as a whole, or left out."""
    rest = after + b"x" * (PEEK_TEXT_BYTES - shown_bytes - 2) + b"\n"
    peek = peek_of(b"a " + SECRET.encode() + rest, limit=1 << 20)
    assert shows_nothing_of(SECRET, peek)
    assert peek.text().endswith("xx\n")


@pytest.mark.parametrize("end", [b"\n", b" ", b""])
@pytest.mark.parametrize("shown_bytes", range(1, len(SECRET) + 2))
def test_a_secret_across_the_beginning_of_a_long_line(shown_bytes: int, end: bytes) -> None:
    """A line that is longer than BufferLimit is shown from a whole word on, whether it came at once or in pieces."""
    line = b"a " + SECRET.encode() + b" and so on" + end
    limit = len(b" and so on" + end.strip(b"\n")) + shown_bytes
    for pieces in ((line,), tuple(line[i : i + 1] for i in range(len(line)))):
        peek = peek_of(*pieces, limit=limit)
        assert shows_nothing_of(SECRET, peek), pieces
        assert "and so" in peek.text()


def test_a_secret_across_the_end_of_an_open_line() -> None:
    """However much of it has been written, nothing of a secret is shown."""
    peek = peek_of(b"a ")
    for each in SECRET.encode():
        peek.add("stdout", bytes([each]))
        assert not set(SECRET) & set(Redactor([SECRET])(peek.text()))
    peek.add("stdout", b" b")
    assert Redactor([SECRET])(peek.text()) == "a *** "


def test_an_endless_line_is_bounded() -> None:
    """A line without an end is counted in bytes and shown by its end; it holds no more than BufferLimit."""
    peek = peek_of(*[b"x" * 999 + b" "] * 1000, b"END", limit=2048)
    assert 1000 <= len(peek.text(ended=True)) <= 2048
    assert peek.text(ended=True).endswith("x END")
    assert peek.seen("stdout").bytes == 1_000_003
    assert peek.seen("stdout").lines == 1


def test_an_endless_word_is_left_out() -> None:
    """What is longer than BufferLimit and has no white space at which to cut it is not shown, but counted."""
    peek = peek_of(*[b"x" * 1000] * 1000, limit=2048)
    assert (peek.text(ended=True), peek.seen("stdout").bytes, peek.seen("stdout").lines) == ("", 1_000_000, 1)


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


def test_text_is_bounded_and_cut_between_words() -> None:
    """What travels with a heartbeat is at most 64 KiB, and begins with a whole word."""
    text = peek_of("éé ".encode() * PEEK_TEXT_BYTES + b"x\n", limit=1 << 30).text()
    assert PEEK_TEXT_BYTES - 5 <= len(text.encode()) <= PEEK_TEXT_BYTES
    assert text.startswith("éé ")
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
