"""The payload's output: files that it writes straight into, and the thread that reads along.

The payload inherits descriptors of files opened O_APPEND, so its output runs at the speed of a redirect
and outlives us. `ExecutionThread` follows the files, counts lines and bytes, and keeps the last lines.
"""

import contextlib
import errno
import os
import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from runner.config import JobWrapperConfig
from runner.errors import PermanentJobError
from runner.process.followed import Followed, Punch, punch_hole
from runner.process.peek import Peek, Piece, last_words, shown, whole_words
from telemetry.facts import OutputSeen, Stream

#: A drain of more than this shows a payload in a hurry, which is looked at more often than every PollingTime. Whoever
#: asks reads no more before he gets his answer: the watchdog looks at all limits at every poll.
_HURRY_BYTES = 32 << 20
_SHORTEST_PAUSE_SECONDS = 0.02
#: So much longer rests who follows a quiet file while somebody else asks for it.
_SPARED = 10
#: So much nicer than the rest of us is the thread: where processors are short, the payload writes before we count.
#: (Two cores, nine runnable processes: 0.71 of a redirect's speed instead of 0.48. At 19 the counts lag.)
_NICER = 5
#: Of each stream, what can be looked at (`excerpt`), at most.
EXCERPT_BYTES = 64 << 10
#: Of a line without an end.
OPEN_LINE_BYTES = 1024


def open_below(folder: Path, path: Path, flags: int) -> int:
    """Open the regular file *path*, which lies below *folder*, without following any link on the way.

    Raises:
        OSError: ELOOP for a link, EINVAL for anything but a regular file below *folder*, or the kernel's own.
    """
    parts = path.relative_to(folder).parts if path.is_absolute() else path.parts
    if not parts or ".." in parts:
        raise OSError(errno.EINVAL, "not a file below the working directory", str(path))
    fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    for part in parts[:-1]:
        fd = _step(fd, part, os.O_PATH | os.O_DIRECTORY)
    # O_NONBLOCK: opening a FIFO that somebody has put there must not wait for its other end.
    fd = _step(fd, parts[-1], flags | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    os.set_blocking(fd, True)
    return fd


def _step(folder_fd: int, name: str, flags: int) -> int:
    try:
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666, dir_fd=folder_fd)
    finally:
        os.close(folder_fd)


def open_for_payload(folder: Path, path: Path, owner: tuple[int, int] | None) -> int:
    """The descriptor that the payload gets for an output file; its owner, so that it can open /dev/stdout.

    Raises:
        OSError: as `open_below`; or the file cannot be given to *owner*.
    """
    fd = open_below(folder, path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    if owner is not None:
        os.fchown(fd, *owner)
    return fd


class OutputFiles:
    """The output files of one payload, open for reading from where they are now, and for dropping their middle."""

    def __init__(self, folder: Path, stdout: str, stderr: str) -> None:
        """Create *stdout* and *stderr* (names as the job gives them, maybe the same) below *folder*.

        Raises:
            PermanentJobError: a name leads elsewhere, or to something that is no regular file.
        """
        self.stdout = folder / stdout
        self.stderr = folder / stderr
        self.fds: dict[Stream, int] = {}
        names: dict[Stream, str] = {"stdout": stdout, "stderr": stderr}
        if os.path.normpath(stdout) == os.path.normpath(stderr):
            del names["stderr"]
        for stream, name in names.items():
            try:
                self.fds[stream] = open_below(folder, Path(name), os.O_RDWR | os.O_CREAT)
            except (OSError, ValueError) as error:
                self.close()
                reason = error.strerror if isinstance(error, OSError) else error
                raise PermanentJobError(
                    f"{stream} of the job cannot be written to {name!r}: {reason}; name a file below its "
                    "working directory",
                    error_type="output_file",
                ) from error

    def close(self) -> None:
        """Let the files go; they stay where they are. Idempotent."""
        while self.fds:
            os.close(self.fds.popitem()[1])


@dataclass(frozen=True)
class Excerpt:
    """A piece of one stream that may be shown, and the totals of the stream at that moment."""

    seen: OutputSeen
    piece: Piece
    #: The last whole words of a line that has no end yet.
    open_line: bytes
    #: Whether nothing comes any more.
    ended: bool


class ExecutionThread(threading.Thread):
    """Reads along with the payload: exact totals of lines and bytes, and the last MaxJobPeekLines lines.

    It wakes up every PollingTime, sooner while much is written, more rarely while somebody else asks as often;
    whoever asks (`seen`, `peek`, `excerpt`) makes it up to date at once, unless very much is new: then the answer
    is behind, and the thread goes on. With OutputFileAction = truncate it keeps the files within OutputFileLimit;
    beyond that they can grow by what is written between two looks.
    """

    def __init__(self, files: OutputFiles, *, config: JobWrapperConfig, punch: Punch = punch_hole) -> None:
        """Follow *files*; *punch* drops the middle of one."""
        super().__init__(name="output", daemon=True)
        self._files = files
        limit = config.output_file_limit_bytes if config.output_file_action == "truncate" else None
        self._longest_pause_seconds = config.polling_time_seconds
        self._hurry_bytes = min(_HURRY_BYTES, config.output_file_limit_bytes // 8)
        self._peek = Peek(config.max_job_peek_lines, config.buffer_limit_bytes)
        self._tails = {stream: Followed(fd, limit, punch) for stream, fd in files.fds.items()}
        self._last: dict[Stream, Piece] = {}
        self._mutex = threading.Lock()
        #: Taken before the mutex by whoever asks: who reads on sees that somebody waits, and lets him in.
        self._turn = threading.Lock()
        self._wake_up = threading.Event()
        self._is_over = False
        self._was_asked = False

    def run(self) -> None:
        """Read along until `finish`."""
        with contextlib.suppress(OSError):
            nice = os.getpriority(os.PRIO_PROCESS, 0)
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), nice + _NICER)
        pause_seconds = _SHORTEST_PAUSE_SECONDS
        before = 0
        while not self._is_over:
            # The watchdog asks every PollingTime: what it has looked at need not be looked at again.
            is_spared = self._was_asked and pause_seconds >= self._longest_pause_seconds
            self._was_asked = False
            self._wake_up.wait(min(pause_seconds, self._longest_pause_seconds) * (_SPARED if is_spared else 1))
            self._wake_up.clear()
            with self._mutex:
                # Whoever finishes is not as nice as this thread, and reads the rest sooner.
                self._drain(lambda: self._is_over or self._turn.locked())
            haste = (self._taken_bytes() - before) / self._hurry_bytes
            before = self._taken_bytes()
            pause_seconds = min(self._longest_pause_seconds, pause_seconds * (2.0 if haste < 1 else 1 / haste))
            pause_seconds = max(_SHORTEST_PAUSE_SECONDS, pause_seconds)

    def send_output(self, stream: Stream, data: bytes) -> None:
        """Take the next *data* of *stream* into the totals and the peek."""
        self._peek.add(stream, data)

    def seen(self) -> tuple[OutputSeen, ...]:
        """The totals of each stream, up to date. Both streams in one file are told as stdout."""
        with self._turn, self._mutex:
            self._look()
            return tuple(self._seen(stream) for stream in self._tails)

    def peek(self, *, ended: bool = False) -> str:
        """The last lines of the output, up to date, as text that any receiver can take.

        Whoever knows that it has *ended* gets the last word too, if no newline follows it.
        """
        with self._turn, self._mutex:
            is_all = self._look()
            return self._peek.text(ended=(ended and is_all) or bool(self._last))

    def excerpt(self, stream: Stream, position: int = 0) -> Excerpt:
        """What *stream* has got from *position* on, up to date; EXCERPT_BYTES from its end at most.

        Raises:
            KeyError: there is no such stream of its own: both streams are in one file, told as stdout.
            OSError: the file cannot be read now.
        """
        with self._turn, self._mutex:
            self._look()
            tail, ended = self._tails[stream], bool(self._last)
            piece = self._last[stream].after(position) if ended else tail.back(position, EXCERPT_BYTES)
            whole = shown(piece, EXCERPT_BYTES, ended=ended)
            rest = last_words(piece.after(whole.end).data, OPEN_LINE_BYTES)
            return Excerpt(self._seen(stream), whole, whole_words(rest), ended)

    @property
    def streams(self) -> tuple[Stream, ...]:
        """The streams that have a file of their own."""
        return tuple(self._tails)

    @property
    def largest_bytes(self) -> int:
        """Bytes that the longer stream has got so far."""
        return max(each.bytes for each in self.seen())

    @property
    def held_bytes(self) -> int:
        """Bytes that the longer file has, without what was dropped: what OutputFileLimit is held against."""
        with self._turn, self._mutex:
            self._look()
            return max(tail.held_bytes for tail in self._tails.values())

    def catch_up(self) -> None:
        """Read all that is left, when nobody writes any more; whoever asks meanwhile is let in.

        Ends the thread. Idempotent.
        """
        self._is_over = True
        self._wake_up.set()
        if self.ident is not None and self is not threading.current_thread():
            self.join()
        is_asked = True
        while is_asked:
            with self._turn:  # who has asked comes first
                pass
            with self._mutex:
                self._drain(self._turn.locked)
                is_asked = self._turn.locked()

    def finish(self) -> tuple[OutputSeen, ...]:
        """The final totals, when nobody writes any more; ends the thread and closes the files. Idempotent."""
        self.catch_up()
        seen = self.seen()
        with self._mutex:
            if self._files.fds:
                self._close()
        return seen

    def _close(self) -> None:
        for stream, tail in self._tails.items():
            self._last[stream] = Piece(tail.taken_bytes, b"")
            with contextlib.suppress(OSError):  # unreadable now: the totals are what we have
                self._last[stream] = tail.back(0, EXCERPT_BYTES)
                tail.close_gap()
        self._files.close()

    def _seen(self, stream: Stream) -> OutputSeen:
        tail = self._tails[stream]
        counted = self._peek.seen(stream)  # holes, which have no lines, were not shown to it
        return replace(counted, bytes=tail.taken_bytes, dropped_bytes=tail.dropped_bytes, shrunk=tail.shrunk)

    def _taken_bytes(self) -> int:
        return sum(tail.taken_bytes for tail in self._tails.values())

    def _look(self) -> bool:
        """Drain for somebody who asks; whether that was all. A payload in a hurry is the thread's business again."""
        before = self._taken_bytes()
        self._drain(lambda: self._taken_bytes() - before >= _HURRY_BYTES)
        self._was_asked = True
        taken = self._taken_bytes() - before
        if taken >= self._hurry_bytes:
            self._wake_up.set()
        return taken < _HURRY_BYTES

    def _drain(self, is_enough: Callable[[], bool]) -> None:
        if not self._files.fds:
            return
        for stream, tail in self._tails.items():
            with contextlib.suppress(OSError):  # unreadable now (a network file system): the next look may read it
                for data in tail.read(is_enough):
                    self.send_output(stream, data)
        self._peek.settle()
