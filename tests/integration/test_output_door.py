"""What a wrapper shows of its payload's output, and what is kept of it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runner.config import JobWrapperConfig
from runner.process.output import EXCERPT_BYTES, OPEN_LINE_BYTES, ExecutionThread, OutputFiles
from runner.redaction import Redactor
from runner.wrapper.peeking import KEPT, MOST_LINES, OutputDoor, kept_answer, positions

SECRET = "hunter2-hunter2"


@pytest.fixture
def door(tmp_path: Path) -> OutputDoor:
    """The door of a job that has a secret."""
    return OutputDoor(tmp_path, Redactor([SECRET]))


@pytest.fixture
def thread(tmp_path: Path, door: OutputDoor) -> Iterator[ExecutionThread]:
    """Its output; the thread is not started, whoever asks makes it up to date."""
    made = ExecutionThread(OutputFiles(tmp_path, "std.out", "std.err"), config=JobWrapperConfig())
    door.attach(made)
    yield made
    made.finish()


@pytest.fixture
def write(tmp_path: Path, thread: ExecutionThread) -> Callable[[bytes], None]:
    """Append to std.out."""

    def append(data: bytes) -> None:
        with (tmp_path / "std.out").open("ab") as file:
            file.write(data)

    return append


def test_before_the_payload(door: OutputDoor) -> None:
    """Without a payload the answer is a no in words, and nothing breaks."""
    assert door.answer({"command": "Peek"}) == {"accepted": False, "reason": "the payload has not started yet"}


def test_lines_and_where_they_begin(door: OutputDoor, write: Callable[[bytes], None]) -> None:
    """Lines come with the byte at which they begin; from `next` on comes what is new, and only that."""
    write(b"one\n\nthree\nthe ope")
    first = door.answer({"command": "Peek"})["streams"]["stdout"]
    assert first["lines"] == [[0, "one"], [4, ""], [5, "three"]]
    assert (first["next"], first["open_line"], first["ended"]) == (11, "the ", False)
    assert (first["total_lines"], first["total_bytes"]) == (4, 18)
    write(b"n\nlast\n")
    second = door.answer({"command": "Peek", "after": {"stdout": first["next"]}})["streams"]["stdout"]
    assert (second["lines"], second["next"]) == ([[11, "the open"], [20, "last"]], 25)


def test_an_answer_is_bounded(door: OutputDoor, write: Callable[[bytes], None]) -> None:
    """Of much output the last lines come; from a position on the next ones, none left out, a bounded number at once."""
    write(b"x\n" * 20_000)
    assert len(door.answer({})["streams"]["stdout"]["lines"]) == MOST_LINES
    position, seen = 0, 0
    while lines := (found := door.answer({"after": {"stdout": position}})["streams"]["stdout"])["lines"]:
        assert len(lines) <= MOST_LINES
        assert lines[0][0] == position
        position, seen = found["next"], seen + len(lines)
    assert seen == 20_000
    write(b"y" * 10 * EXCERPT_BYTES + b"\nend\n")
    assert [text for _, text in door.answer({})["streams"]["stdout"]["lines"]] == ["end"]


def test_secrets_are_masked_for_good(
    tmp_path: Path, door: OutputDoor, thread: ExecutionThread, write: Callable[[bytes], None]
) -> None:
    """No piece that is shown or kept has a secret, wherever the look begins: a line is shown whole or not at all."""
    write(f"a {SECRET} b\n".encode() * 3 + f"open {SECRET} ".encode())
    for position in range(len(SECRET) + 6):
        answer = door.answer({"after": {"stdout": position}})["streams"]["stdout"]
        assert all(text in ("a *** b", "b", "*** b") for _, text in answer["lines"]), answer
        assert answer["open_line"] == "open *** "
    thread.finish()
    door.keep()
    assert SECRET not in (tmp_path / KEPT).read_text()


@pytest.mark.parametrize("shown_bytes", range(len(SECRET) + 2))
def test_no_cut_of_an_open_line_shows_half_a_secret(
    tmp_path: Path, door: OutputDoor, write: Callable[[bytes], None], shown_bytes: int
) -> None:
    """Of a line that has no end yet whole words are shown: at its beginning, and at its end while it is written."""
    rest = b" " + b"x" * (OPEN_LINE_BYTES - shown_bytes - 2) + b" "
    write(f"a {SECRET}".encode() + rest)
    door.keep()
    assert door.answer({})["streams"]["stdout"]["open_line"].strip(" *") == rest.decode().strip()
    assert "hunter" not in (tmp_path / KEPT).read_text()
    write(f"and {SECRET}"[: 4 + shown_bytes].encode())
    door.keep()
    assert door.answer({})["streams"]["stdout"]["open_line"] == "and "
    assert json.loads((tmp_path / KEPT).read_text())["streams"]["stdout"]["open_line"] == "and "


def test_what_is_kept(
    tmp_path: Path, door: OutputDoor, thread: ExecutionThread, write: Callable[[bytes], None]
) -> None:
    """After the end the last lines can be asked for as before, readable by nobody else; an open line is one, too."""
    write(b"one\ntwo\nthree")
    thread.finish()
    door.keep()
    (tmp_path / "std.out").unlink()
    assert (tmp_path / KEPT).stat().st_mode & 0o777 == 0o600
    out = kept_answer(tmp_path, {"stdout": 4})["streams"]["stdout"]
    assert (out["lines"], out["next"], out["ended"]) == ([[4, "two"], [8, "three"]], 13, True)
    assert kept_answer(tmp_path, {"stdout": 13})["streams"]["stdout"]["lines"] == []


def test_all_that_can_be_looked_at_is_kept(
    door: OutputDoor, tmp_path: Path, thread: ExecutionThread, write: Callable[[bytes], None]
) -> None:
    """Who follows a payload that says much at its end gets it all afterwards, as before a bounded number of lines at
    once; without a position the last ones come."""
    write(b"x\n" * 20_000 + b"end")
    thread.finish()
    door.keep()
    position, seen = 0, 0
    while lines := (found := kept_answer(tmp_path, {"stdout": position})["streams"]["stdout"])["lines"]:
        assert len(lines) <= MOST_LINES
        assert lines[0][0] == position
        position, seen = found["next"], seen + len(lines)
    assert (seen, position) == (20_001, 40_003)
    last = kept_answer(tmp_path, {})["streams"]["stdout"]
    assert (len(last["lines"]), last["lines"][-1], last["next"]) == (MOST_LINES, [40_000, "end"], 40_003)


def test_no_room_to_keep_it(tmp_path: Path, door: OutputDoor, thread: ExecutionThread) -> None:
    """That the tail cannot be kept is no error of the job."""
    (tmp_path / KEPT).mkdir()
    thread.finish()
    door.keep()
    assert list((tmp_path / KEPT).iterdir()) == []


@pytest.mark.parametrize("value", [None, 5, [], {"stdout": -1}, {"stdout": "5"}, {"stdout": True}, {"other": 1}])
def test_nonsense_is_no_position(value: object) -> None:
    """What whoever asks sends as positions is not believed."""
    assert positions(value) == {}
