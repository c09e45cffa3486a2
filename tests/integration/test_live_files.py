"""The node's OTLP files under crashes, full disks and many writers."""

import io
import json
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from telemetry.facts import JobMatched
from telemetry.identity import pseudonym
from telemetry.live.lines import append_line, complete_lines
from telemetry.live.otlp_files import OtlpFiles, read_accounting, read_spans
from telemetry.live.spans import render
from tests.support.attempts import play, uid_of
from tests.support.tree import ROOT

RECORD = {"UID": uid_of(), "RecordedBy": "agent", "Revision": 1, "EndTime": "2026-01-15T12:00:09.500000Z"}
ITEM = f"{uid_of()}/agent/1"


#: What each of several writing processes does: argv is the file and its number.
APPEND_MANY = """
import json, pathlib, sys
from telemetry.live.lines import append_line
for number in range(50):
    append_line(pathlib.Path(sys.argv[1]), json.dumps([int(sys.argv[2]), number, "x" * 5000]).encode() + b"\\n")
"""


def append_many(path: Path, writer: int) -> None:
    """The same in a thread."""
    for number in range(50):
        append_line(path, json.dumps([writer, number, "x" * 5000]).encode() + b"\n")


def test_writers_do_not_mix_their_lines(tmp_path: Path) -> None:
    """Lines of processes and threads that append at once are all there, each whole, each writer's in order."""
    path = tmp_path / "lines.jsonl"
    processes = [
        subprocess.Popen([sys.executable, "-c", APPEND_MANY, str(path), str(each)], cwd=ROOT) for each in (0, 1)
    ]
    threads = [threading.Thread(target=append_many, args=(path, writer)) for writer in (2, 3)]
    for thread in threads:
        thread.start()
    assert [process.wait(60) for process in processes] == [0, 0]
    for thread in threads:
        thread.join(60)
    lines = [json.loads(line) for _, line in complete_lines(path)]
    assert len(lines) == 200
    for writer in range(4):
        assert [number for who, number, _ in lines if who == writer] == list(range(50))


def test_an_attempt_is_one_line_in_each_file(tmp_path: Path) -> None:
    """Spans and record of an attempt stand in one line each, readable by their owner only, found by their name."""
    files = OtlpFiles(tmp_path / "telemetry")
    files.write(render(play().entries, RECORD))
    assert [len(path.read_bytes().splitlines()) for path in (files.traces, files.logs)] == [1, 1]
    assert files.logs.stat().st_mode & 0o077 == 0
    assert files.holds(uid_of(), ITEM)
    assert not files.holds("another", ITEM)
    assert not files.holds(uid_of(), f"{uid_of()}/agent/2")


def test_damaged_lines_are_counted_and_the_rest_is_read(tmp_path: Path) -> None:
    """Garbage between good lines costs nothing but a count; a line without end is not read yet."""
    files = OtlpFiles(tmp_path)
    files.write(render(play().entries, RECORD))
    for path in (files.traces, files.logs):
        good = path.read_bytes()
        path.write_bytes(good + b"garbage\n\n" + good + good[:100])
    spans, events = read_spans(files.traces), read_accounting(files.logs)
    assert (spans.damaged, events.damaged) == (1, 1)
    assert len(spans.spans) == 2 * len({span.span_id for span in spans.spans})
    assert [event.line for event in events.events] == [1, 4]


def test_a_torn_line_does_not_swallow_the_next(tmp_path: Path) -> None:
    """After a crash in the middle of a line, the next line starts anew."""
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b'{"torn":')
    append_line(path, b"whole\n")
    assert [line for _, line in complete_lines(path)] == [b'{"torn":\n', b"whole\n"]


class Growing(io.RawIOBase):
    """A file to which somebody adds each time its reader has come to the end."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._pieces.pop(0) if self._pieces else b""
        buffer[: len(piece)] = piece
        return len(piece)


class GrowingPath(type(Path())):  # type: ignore[misc]
    """Where it is found."""

    def open(self, *_: Any) -> io.BufferedReader:  # type: ignore[override]
        """As it was when it began to be read."""
        return io.BufferedReader(Growing(b"1\n2", b"", b"2\n3\n", b""))


def test_a_line_that_is_being_written_is_not_read_in_two() -> None:
    """A reader that has met half a line stops there: the rest, written meanwhile, is no line of its own."""
    assert list(complete_lines(GrowingPath("lines.jsonl"))) == [(1, b"1\n")]


#: In a process of its own: the limit holds for every file of a process, the tests' own output included.
LITTLE_ROOM = """
import pathlib, resource, sys
from telemetry.facts import JobMatched
from telemetry.identity import pseudonym
from telemetry.live.lines import append_line
path = pathlib.Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (16, resource.RLIM_INFINITY))
try:
    append_line(path, b"x" * 100 + bytes([10]))
except OSError as error:
    assert "File too large" in str(error), error
else:
    raise AssertionError("it was taken")
assert path.read_bytes() == b"first" + bytes([10]), path.read_bytes()
append_line(path, b"2" + bytes([10]))
"""


def test_without_room_no_half_line_stays(tmp_path: Path) -> None:
    """When a line does not fit, what was begun of it is taken back, and the error is told."""
    path = tmp_path / "lines.jsonl"
    append_line(path, b"first\n")
    child = subprocess.run(
        [sys.executable, "-c", LITTLE_ROOM, str(path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert child.returncode == 0, child.stderr
    assert path.read_bytes() == b"first\n2\n"


def test_a_full_disk_is_told() -> None:
    """A disk that is full raises its own error (/dev/full always is)."""
    with pytest.raises(OSError, match="No space left"):
        append_line(Path("/dev/full"), b"x\n")


def test_only_lines_of_interest_are_parsed(tmp_path: Path) -> None:
    """A reader that names a text does not look into other lines, damaged or not."""
    files = OtlpFiles(tmp_path)
    files.write(render(play().entries, RECORD))
    with files.traces.open("ab") as file:
        file.write(b"garbage\n")
    assert read_spans(files.traces, containing=["no such text"]) == read_spans(tmp_path / "missing")
    assert read_spans(files.traces, containing=[uid_of()]).damaged == 0


def test_users_are_named_in_telemetry_as_the_site_wants(tmp_path: Path) -> None:
    """Neither spans nor the accounting event have the owner's own name when the site gives another."""
    files = OtlpFiles(tmp_path)
    owner = next(each.fact.owner for each in play().entries if isinstance(each.fact, JobMatched))
    assert owner
    files.write(render(play().entries, {**RECORD, "User": owner}, user_name=partial(pseudonym, b"a key of the site")))
    written = files.traces.read_text() + files.logs.read_text()
    assert f'"{owner}"' not in written
    assert written.count(pseudonym(b"a key of the site", owner)) == 2
