"""The peek against a plain model, for any output cut anywhere."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from runner.process.peek import Peek

DATA = st.lists(st.sampled_from([b"\n", b"a", "é".encode(), "😀".encode(), b"\0", b"\xff", b"bb\n"]), max_size=60)


@given(DATA.map(b"".join), st.lists(st.integers(0, 120), max_size=12), st.integers(0, 8))
def test_cutting_changes_nothing(data: bytes, cuts: list[int], max_lines: int) -> None:
    """Totals and text depend on the output alone, not on how it was read."""
    whole, pieces = Peek(max_lines, 1 << 20), Peek(max_lines, 1 << 20)
    whole.add("stdout", data)
    borders = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for start, end in itertools.pairwise(borders):
        pieces.add("stdout", data[start:end])
    assert pieces.seen("stdout") == whole.seen("stdout")
    assert pieces.text() == whole.text()


@given(DATA.map(b"".join), st.integers(1, 8))
def test_counts_are_exact(data: bytes, max_lines: int) -> None:
    """Lines are what splitting at newlines gives, an open last one included; shown are the last of them."""
    peek = Peek(max_lines, 1 << 20)
    peek.add("stdout", data)
    lines = data.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    seen = peek.seen("stdout")
    assert (seen.lines, seen.bytes) == (len(lines), len(data))
    assert seen.peek_lines_dropped == max(0, len(lines) - max_lines)
    if data.endswith(b"\n"):
        shown = b"\n".join(lines[-max_lines:]).decode(errors="replace").replace("\0", "\u2400")
        assert peek.text() == shown + "\n"


@given(st.lists(st.tuples(st.sampled_from(["stdout", "stderr"]), DATA.map(b"".join)), max_size=10))
def test_totals_never_fall(pieces: list[tuple[str, bytes]]) -> None:
    """No piece of output makes a total smaller, the dropped lines included."""
    peek = Peek(3, 64)
    before = {stream: (0, 0, 0) for stream in ("stdout", "stderr")}
    for stream, data in pieces:
        peek.add(stream, data)  # type: ignore[arg-type]
        for each in before:
            seen = peek.seen(each)  # type: ignore[arg-type]
            now = (seen.lines, seen.bytes, seen.peek_lines_dropped)
            assert all(new >= old for new, old in zip(now, before[each], strict=True))
            before[each] = now
