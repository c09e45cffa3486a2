"""HTTP on a connection: a parser in C, and a limit to what may stand before a body."""

from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: Address and header lines of one call. The longest that we make is a presigned address, of some hundred bytes.
MOST_HEAD_BYTES = 64 << 10


class BoundedHttp(HttpToolsProtocol):
    """uvicorn's protocol, but nobody fills our memory with a head that does not end."""

    _head_bytes = 0
    _is_in_head = True

    def data_received(self, data: bytes) -> None:
        """Take what has come, unless it is still of a head that has become too long."""
        self._head_bytes += len(data)
        super().data_received(data)
        if self._is_in_head and self._head_bytes > MOST_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("Address and headers are too long.")

    def on_headers_complete(self) -> None:
        """The head is over."""
        self._is_in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The next call begins with a head."""
        self._is_in_head, self._head_bytes = True, 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> Any:
        """Say so, and end the connection; not in the middle of an answer."""
        if self.cycle is not None and not self.cycle.response_complete and self.cycle.response_started:
            self.transport.close()
            return
        super().send_400_response(msg)

    def shutdown(self) -> None:
        """The server stops: an idle connection ends at once, also where TLS would wait for a farewell."""
        super().shutdown()
        if self.transport.is_closing() and not self.transport.get_write_buffer_size():
            self.transport.abort()
