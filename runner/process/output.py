"""The payload's output: files that it writes straight into, and the thread that reads along.

The payload inherits descriptors of files opened O_APPEND, so its output runs at the speed of a redirect
and outlives us. `ExecutionThread` follows the files, counts lines and bytes, and keeps the last lines.
"""

import contextlib
import errno
import os
import stat
import threading
from pathlib import Path

from runner.config import JobWrapperConfig
from runner.errors import PermanentJobError
from runner.process.peek import Peek
from telemetry.facts import OutputSeen, Stream

_READ_BYTES = 1 << 20


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
    """The descriptor that the payload gets for an output file; its owner, so that it can open /dev/stdout."""
    fd = open_below(folder, path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    if owner is not None:
        os.fchown(fd, *owner)
    return fd


class OutputFiles:
    """The output files of one payload, open for reading from where they are now."""

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
                self.fds[stream] = open_below(folder, Path(name), os.O_RDONLY | os.O_CREAT)
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


class _Tail:
    """Where we are in one file."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.offset = os.fstat(fd).st_size

    def read(self, until: int) -> bytes:
        """What comes next, up to the offset *until*."""
        data = os.pread(self.fd, min(_READ_BYTES, until - self.offset), self.offset)
        self.offset += len(data)
        return data

    def size(self) -> int:
        """Present size. A file that has shrunk was truncated: what it holds now is new."""
        size = os.fstat(self.fd).st_size
        if size < self.offset:
            self.offset = 0
        return size


class ExecutionThread(threading.Thread):
    """Reads along with the payload: exact totals of lines and bytes, and the last MaxJobPeekLines lines.

    It wakes up every PollingTime; whoever asks (`seen`, `peek`, `finish`) makes it up to date at once.
    """

    def __init__(
        self,
        files: OutputFiles,
        *,
        config: JobWrapperConfig,
    ) -> None:
        """Follow *files*."""
        super().__init__(name="output", daemon=True)
        self._files = files
        self._interval_seconds = config.polling_time_seconds
        self._peek = Peek(config.max_job_peek_lines, config.buffer_limit_bytes)
        self._tails = {stream: _Tail(fd) for stream, fd in files.fds.items()}
        self._mutex = threading.Lock()
        self._end = threading.Event()

    def run(self) -> None:
        """Read along until `finish`."""
        while not self._end.wait(self._interval_seconds):
            self.seen()

    def send_output(self, stream: Stream, data: bytes) -> None:
        """Take the next *data* of *stream* into the totals and the peek."""
        self._peek.add(stream, data)

    def seen(self) -> tuple[OutputSeen, ...]:
        """The totals of each stream, up to date. Both streams in one file are told as stdout."""
        with self._mutex:
            self._drain()
            return tuple(self._peek.seen(stream) for stream in self._tails)

    def peek(self) -> str:
        """The last lines of the output, up to date, as text that any receiver can take."""
        with self._mutex:
            self._drain()
            return self._peek.text()

    @property
    def largest_bytes(self) -> int:
        """Bytes that the longer stream has got so far."""
        return max(each.bytes for each in self.seen())

    def finish(self) -> tuple[OutputSeen, ...]:
        """The final totals, when nobody writes any more; ends the thread and closes the files. Idempotent."""
        self._end.set()
        if self.ident is not None and self is not threading.current_thread():
            self.join()
        seen = self.seen()
        with self._mutex:
            self._files.close()
        return seen

    def _drain(self) -> None:
        if not self._files.fds:
            return
        for stream, tail in self._tails.items():
            with contextlib.suppress(OSError):  # unreadable now (a network file system): the next look may read it
                size = tail.size()
                while tail.offset < size and (data := tail.read(size)):
                    self.send_output(stream, data)
