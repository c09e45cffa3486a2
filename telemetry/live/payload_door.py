"""The door of the payloads: one socket on loopback for all jobs of a node.

What speaks OTLP is loaded with the first call, so that a job that makes none pays nothing for it.
Places are few, and each call has one for a bounded time. Whoever has not shown a valid secret yet loses his place to
the next one who comes when all are taken, so that callers who say nothing keep nobody out.
"""

import contextlib
import logging
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from telemetry.live.payload_desk import Desk

HOST = "127.0.0.1"
MOST_PLACES = 32
#: When no further socket can be opened.
_PAUSE_SECONDS = 1.0
_log = logging.getLogger(__name__)


class PayloadDoor:
    """Listens from the start, answers on threads of its own."""

    def __init__(self, make_desk: Callable[[], "Desk"], port: int = 0) -> None:
        """On *port*, if it can be had; 0, or else: any free one. *make_desk* is called with the first call.

        Raises:
            OSError: there is no socket.
        """
        self._make_desk = make_desk
        self._desk: Desk | None = None
        self._listener = _listen(port)
        self.url = f"http://{HOST}:{self._listener.getsockname()[1]}"
        self._mutex = threading.Lock()
        #: Connections in the order in which they came, and whether the caller has shown a secret.
        self._places: dict[socket.socket, bool] = {}
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="payload-telemetry", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Free the port; calls under way are cut off. Idempotent."""
        self._closed.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread
        self._thread.join()
        self._listener.close()
        with self._mutex:
            for connection in self._places:
                _cut_off(connection)

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError as error:
                if not self._closed.is_set():
                    _log.warning("no call of a payload can be taken: %s", error.strerror)
                self._closed.wait(_PAUSE_SECONDS)
                continue
            if self._place(connection):
                threading.Thread(target=self._serve, args=(connection,), name="payload-call", daemon=True).start()
            else:
                connection.close()

    def _place(self, connection: socket.socket) -> bool:
        with self._mutex:
            if len(self._places) >= MOST_PLACES:
                unknown = next((each for each, is_known in self._places.items() if not is_known), None)
                if unknown is None:
                    return False
                del self._places[unknown]
                _cut_off(unknown)
            self._places[connection] = False
            return True

    def _serve(self, connection: socket.socket) -> None:
        def known() -> None:
            with self._mutex:
                if connection in self._places:
                    self._places[connection] = True

        try:
            with connection:
                self._answer(connection, known)
        except OSError:  # a caller who breaks off is no error of ours
            _log.debug("a call of a payload broke off", exc_info=True)
        except Exception:  # noqa: BLE001 - boundary of a call: the others go on
            _log.exception("a call of a payload failed")
        finally:
            with self._mutex:
                self._places.pop(connection, None)

    def _answer(self, connection: socket.socket, known: Callable[[], None]) -> None:
        from telemetry.live.payload_http import CallHandler

        with self._mutex:
            if self._desk is None:
                self._desk = self._make_desk()
        CallHandler(connection, self._desk, known)


def keep_port(port: int) -> socket.socket:
    """Keep *port* for doors of our user until this is closed, whether there is one now or not.

    Nobody listens at this socket: the door that is there, or comes there, gets all calls.

    Raises:
        OSError: it is another's.
    """
    kept = socket.socket()
    try:
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        kept.bind((HOST, port))
    except OSError:
        kept.close()
        raise
    return kept


def _listen(port: int) -> socket.socket:
    if port and not _is_served(port):
        with contextlib.suppress(OSError):
            return _listener(port)
    return _listener(0)


def _listener(port: int) -> socket.socket:
    # Beside those that keep the port; of another user's the kernel lets none come beside ours.
    return socket.create_server((HOST, port), backlog=MOST_PLACES, reuse_port=True)


def _is_served(port: int) -> bool:
    """Whether somebody listens there: two doors at one port would each get calls that are for the other."""
    try:
        socket.create_connection((HOST, port), timeout=_PAUSE_SECONDS).close()
    except ConnectionRefusedError:
        return False
    except OSError:
        return True
    return True


def _cut_off(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it has gone already
        connection.shutdown(socket.SHUT_RDWR)
