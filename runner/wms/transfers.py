"""Files to and from presigned addresses: streamed, without our token, and abandoned when nobody waits any more."""

import contextlib
import hashlib
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from runner.errors import ChecksumError, NotFoundError, RefusedError, UnavailableError
from runner.process.cancel import Cancel
from runner.wms.connections import Connections, HTTPError, Response, chunks, unreachable
from runner.wms.transport import Transport
from telemetry.clock import SystemClock

T = TypeVar("T")
UPLOAD_TEMPLATE, DOWNLOAD_TEMPLATE = "sandbox upload", "sandbox download"


def abandonable(
    work: Callable[[threading.Event], T], cancel: Cancel | None, *, patience_seconds: float, timeout_seconds: float
) -> T:
    """Do *work* in a thread of its own, so that a stalled connection cannot hold up a kill.

    *work* gets an event that is set when nobody waits for it any more. After a cancel it has
    *patience_seconds* left, in any case *timeout_seconds*.

    Raises:
        UnavailableError: it did not end in time. Whatever *work* raises.
    """
    abandoned, over = threading.Event(), threading.Event()
    future: Future[T] = Future()
    future.add_done_callback(lambda _: over.set())
    if cancel is not None:
        cancel.on_request(lambda _: over.set())
    threading.Thread(target=_work, args=(work, abandoned, future), name="transfer", daemon=True).start()
    deadline = time.monotonic() + timeout_seconds
    over.wait(timeout_seconds)
    if not future.done() and cancel is not None and cancel.cause is not None:
        deadline = min(deadline, time.monotonic() + patience_seconds)
    try:
        return future.result(max(0.0, deadline - time.monotonic()))
    except TimeoutError as error:
        abandoned.set()
        raise UnavailableError("the transfer did not end in time") from error


def fetch(transport: Transport, url: str, target: Path, *, largest_bytes: int, abandoned: threading.Event) -> str:
    """Bring what *url* gives to the new file *target*; the sha256 (hex) of its content.

    Raises:
        UnavailableError, NotFoundError, RefusedError: it cannot be had.
        ChecksumError: it is larger than *largest_bytes*.
    """
    part = target.with_name(f".{target.name}.part")
    try:
        with part.open("xb") as file, _exchange(transport, "GET", url, DOWNLOAD_TEMPLATE) as response:
            digest, size = hashlib.sha256(), 0
            for chunk in chunks(response):
                if abandoned.is_set():
                    raise UnavailableError("nobody waits for this download any more")
                size += len(chunk)
                if size > largest_bytes:
                    raise ChecksumError(f"the sandbox has more than {largest_bytes} bytes")
                digest.update(chunk)
                file.write(chunk)
        part.rename(target)
        return digest.hexdigest()
    finally:
        part.unlink(missing_ok=True)


def post_form(
    transport: Transport, url: str, fields: Mapping[str, str], file: Path, *, abandoned: threading.Event
) -> None:
    """Send *file* as the last part of a form with *fields*, as presigned uploads want it.

    Raises:
        UnavailableError, RefusedError: it was not taken.
    """
    with _Form(fields, file, abandoned) as form, _exchange(transport, "POST", url, UPLOAD_TEMPLATE, form):
        return


def sha256_of(path: Path) -> str:
    """The sha256 (hex) of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Form:
    """multipart/form-data, read piece by piece: the usual encoders would hold the whole file in memory."""

    def __init__(self, fields: Mapping[str, str], file: Path, abandoned: threading.Event) -> None:
        boundary = secrets.token_hex(16)
        self.content_type = f"multipart/form-data; boundary={boundary}"
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in fields.items()
        ]
        parts.append(
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="file"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        self._head = "".join(parts).encode()
        self._tail = f"\r\n--{boundary}--\r\n".encode()
        self._file = file.open("rb")
        self._abandoned = abandoned
        self._size = len(self._head) + file.stat().st_size + len(self._tail)

    def __enter__(self) -> "_Form":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __len__(self) -> int:
        return self._size

    def read(self, size: int) -> bytes:
        """The next piece; empty at the end."""
        if self._abandoned.is_set():
            raise UnavailableError("nobody waits for this upload any more")
        if self._head:
            piece, self._head = self._head[:size], self._head[size:]
            return piece
        if piece := self._file.read(size):
            return piece
        piece, self._tail = self._tail[:size], self._tail[size:]
        return piece


@contextlib.contextmanager
def _exchange(
    transport: Transport, method: str, url: str, template: str, form: _Form | None = None
) -> Iterator[Response]:
    """One request to a presigned address, observed; its answer, whose content is still to be read."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise UnavailableError("the WMS names an address for a sandbox that is none")
    start, status_code, error_type = SystemClock().boottime_ns(), 0, "connection"
    headers = {"Content-Type": form.content_type, "Content-Length": str(len(form))} if form else {}
    patience = transport.timeout_seconds
    try:
        with (
            Connections(transport.http, url) as connections,
            connections.call(
                method, url, body=form, headers=headers, connect_seconds=patience, answer_seconds=patience
            ) as response,
        ):
            status_code, error_type = response.status, f"http_{response.status}"
            _judge(status_code, template)
            yield response
        error_type = ""
    except HTTPError as error:
        raise unreachable(error, f"{parts.hostname} ({template})") from error
    finally:
        transport.note(method, template, status_code, start, error_type)


def _judge(status_code: int, what: str) -> None:
    if status_code < 300:
        return
    message = f"{what}: HTTP {status_code}"
    if status_code == 404:
        raise NotFoundError(message, status_code=status_code)
    if 400 <= status_code < 500 and status_code not in (408, 425, 429):
        raise RefusedError(message, status_code=status_code)
    raise UnavailableError(message)


def _work(work: Callable[[threading.Event], T], abandoned: threading.Event, future: Future[T]) -> None:
    try:
        future.set_result(work(abandoned))
    except BaseException as error:  # noqa: BLE001 - carried over to the thread that waits
        future.set_exception(error)
