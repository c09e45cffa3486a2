"""What a wrapper shows of its payload's output: by stream, bounded, with secrets masked.

While the wrapper lives it answers on its control socket. When the payload has ended, the last of its
output is kept in the control folder, since the working directory and the wrapper are gone soon.
"""

import contextlib
import json
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from runner.process.output import ExecutionThread
from runner.process.peek import text_of
from telemetry.facts import Stream

KEPT: Final = "output_tail.json"
STREAMS: Final[tuple[Stream, ...]] = ("stdout", "stderr")
#: Lines of a stream in one answer at most.
MOST_LINES = 1000


class OutputDoor:
    """Shows the output of one payload."""

    def __init__(self, control: Path, redact: Callable[[str], str]) -> None:
        """What is kept lies in *control*; *redact* masks secrets, line by line."""
        self._control = control
        self._redact = redact
        self._mutex = threading.Lock()
        self._output: ExecutionThread | None = None

    def attach(self, output: ExecutionThread) -> None:
        """There is output to show."""
        with self._mutex:
            self._output = output

    def answer(self, command: Mapping[str, Any]) -> dict[str, Any]:
        """Answer ``{"command": "Peek", "after": {"stdout": 123}}``.

        Of each stream come its totals and lines, each with the byte at which it begins: with *after* those from
        that byte on, else the last ones; `next` is where to go on.
        """
        after = positions(command.get("after"))
        return _page(self._whole(after), after)

    def keep(self) -> None:
        """The payload has ended: keep the last of its output for those who ask later."""
        answer = self._whole({})
        # The output itself is where it was; a disk without room must not fail the job for a copy of its tail.
        with contextlib.suppress(OSError):
            fd = os.open(self._control / KEPT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "w") as file:
                json.dump(answer, file)

    def _whole(self, after: Mapping[Stream, int]) -> dict[str, Any]:
        """All that can be looked at from *after* on."""
        with self._mutex:
            output = self._output
        if output is None:
            return {"accepted": False, "reason": "the payload has not started yet"}
        try:
            streams = {each: self._stream(output, each, after.get(each, 0)) for each in output.streams}
        except OSError as error:
            return {"accepted": False, "reason": f"the output cannot be read now: {error.strerror}"}
        return {"accepted": True, "streams": streams}

    def _stream(self, output: ExecutionThread, stream: Stream, after: int) -> dict[str, Any]:
        excerpt = output.excerpt(stream, after)
        position, lines = excerpt.piece.start, []
        for line in excerpt.piece.data.split(b"\n"):
            lines.append((position, line))
            position += len(line) + 1
        lines = [each for each in lines if each[0] < excerpt.piece.end]  # nothing stands after the last newline
        return {
            "lines": [[position, self._redact(text_of(line))] for position, line in lines],
            "next": excerpt.piece.end,
            "open_line": self._redact(text_of(excerpt.open_line)),
            "total_lines": excerpt.seen.lines,
            "total_bytes": excerpt.seen.bytes,
            "dropped_bytes": excerpt.seen.dropped_bytes,
            "shrunk": excerpt.seen.shrunk,
            "ended": excerpt.ended,
        }


def kept_answer(control: Path, after: Mapping[Stream, int]) -> dict[str, Any]:
    """The answer of a wrapper that is gone: from what it has kept.

    Raises:
        OSError, ValueError: it has kept nothing that can be read.
    """
    return _page(dict(json.loads((control / KEPT).read_text())), after)


def _page(answer: dict[str, Any], after: Mapping[Stream, int]) -> dict[str, Any]:
    """Of *answer* what one call gets: of each stream the first lines from *after* on, or else the last ones."""
    for stream, told in answer.get("streams", {}).items():
        begin = after.get(stream)
        if begin is None:
            told["lines"] = told["lines"][-MOST_LINES:]
            continue
        lines = [line for line in told["lines"] if line[0] >= begin]
        told["lines"], rest = lines[:MOST_LINES], lines[MOST_LINES:]
        told["next"] = rest[0][0] if rest else told["next"]
    return answer


def positions(value: object) -> dict[Stream, int]:
    """The bytes after which somebody wants to see the streams; what is nonsense is left out."""
    given = value if isinstance(value, Mapping) else {}
    return {each: at for each in STREAMS if type(at := given.get(each)) is int and at >= 0}
