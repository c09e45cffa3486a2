"""A relay before a server, on loopback, that stalls the connections whose request begins as told."""

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self


class StallingProxy:
    """Relays everything to *upstream*; a request that begins with *stalled* gets no further than its first bytes.

    `reached` is set when such a request has come; `release()` lets it, and all later ones, through.
    """

    def __init__(self, upstream: tuple[str, int], stalled: bytes) -> None:
        self.reached = threading.Event()
        self._released = threading.Event()
        self._upstream = upstream
        self._stalled = stalled
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._mutex = threading.Lock()
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def release(self) -> None:
        """Stall nothing any more."""
        self._released.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._released.set()
        with self._mutex:
            for each in (self._listener, *self._sockets):
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
                each.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._upstream)
            except OSError:
                return
            with self._mutex:
                self._sockets += [client, server]
            threading.Thread(target=self._relay, args=(client, server, True), daemon=True).start()
            threading.Thread(target=self._relay, args=(server, client, False), daemon=True).start()

    def _relay(self, source: socket.socket, target: socket.socket, is_request: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if is_request and data.startswith(self._stalled) and not self._released.is_set():
                    self.reached.set()
                    self._released.wait()
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
