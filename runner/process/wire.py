"""The line between a wrapper and its starter: frames of JSON over a socket pair; readings have a pair of their own."""

import json
import marshal
import socket
import struct
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from telemetry.measure.snapshot import Cpu, Methods, Peaks, UsageReading
from telemetry.measure.stillness import Marks

_LENGTH = struct.Struct("=I")
_RECEIVE_BYTES = 1 << 16
#: More than a reading in one packet.
READING_BYTES = 4096


def pack(kind: str, data: dict[str, Any]) -> bytes:
    """One frame. Strings may carry surrogates (undecodable bytes of the file system): JSON escapes them."""
    body = json.dumps([kind, data]).encode()
    return _LENGTH.pack(len(body)) + body


def unpack(data: bytes) -> tuple[str, dict[str, Any]] | None:
    """The frame that *data* is; None as long as it is not complete."""
    if len(data) < _LENGTH.size or len(data) < _LENGTH.size + _LENGTH.unpack_from(data)[0]:
        return None
    kind, values = json.loads(data[_LENGTH.size :])
    return kind, values


def pack_question(number: int, depth: str, still_until_ns: int) -> bytes:
    """Question *number* for a reading, one packet: how deep the look is to go ("", "deep", "pss"), and until when, in
    nanoseconds since boot, none of the payload's processes had run since the last answer; 0: nobody knows."""
    return f"{number} {depth} {still_until_ns}".encode()


def unpack_question(packet: bytes) -> tuple[str, int]:
    """Depth and time."""
    _, depth, still_until_ns = packet.decode().split(" ")
    return depth, int(still_until_ns)


def pack_reading(question: bytes, reading: UsageReading, marks: Marks) -> bytes:
    """The answer to *question*, one packet: a reading, and the marks by which it can be seen to hold.

    By marshal, in a tenth of JSON's time: both ends are forks of one interpreter, and nobody else has the line.
    """
    nested = tuple(reading.cpu), tuple(reading.methods), tuple(reading.peaks)
    return marshal.dumps((question, marks, *nested, *reading[2:-1]))


def unpack_reading(packet: bytes) -> tuple[bytes, UsageReading, Marks]:
    """What `pack_reading` was given."""
    question, marks, cpu, methods, peaks, *values = marshal.loads(packet)  # noqa: S302 - of our own starter
    return question, UsageReading._make((Cpu(*cpu), Methods(*methods), *values, Peaks(*peaks))), marks


def values_of(value: Any) -> dict[str, Any]:
    """The fields of a dataclass, one level deep, as JSON can carry them."""
    if not is_dataclass(value):
        raise TypeError(f"{value!r} has no fields")
    return {each.name: getattr(value, each.name) for each in fields(value)}


class Frames:
    """Puts what a socket delivers together again."""

    def __init__(self) -> None:
        """Nothing has come yet."""
        self._buffer = bytearray()

    def receive(self, source: socket.socket) -> bool:
        """Take what *source* has; False when the other side is gone."""
        try:
            part = source.recv(_RECEIVE_BYTES)
        except ConnectionError:
            return False
        self._buffer += part
        return bool(part)

    def __iter__(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The frames that are complete, each once."""
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            end = _LENGTH.size + length
            if len(self._buffer) < end:
                return
            kind, data = json.loads(self._buffer[_LENGTH.size : end])
            del self._buffer[:end]
            yield kind, data


class Line:
    """One end of the line that never blocks: what the other end does not take yet waits here."""

    def __init__(self, end: socket.socket) -> None:
        """*end* is a socket of streams."""
        self._end = end
        self._frames = Frames()
        self._waiting = bytearray()

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self._end.fileno()

    @property
    def is_waiting(self) -> bool:
        """Whether `flush` must be called when the line can take more."""
        return bool(self._waiting)

    def receive(self) -> tuple[bool, list[tuple[str, dict[str, Any]]]]:
        """Whether the other end is there, and the frames that have come."""
        return self._frames.receive(self._end), list(self._frames)

    def send(self, kind: str, data: dict[str, Any]) -> None:
        """Send a frame, now or later."""
        self._waiting += pack(kind, data)
        self.flush()

    def flush(self) -> None:
        """Send what the line takes. One whose other end is gone takes everything: nobody would read it."""
        try:
            while self._waiting:
                del self._waiting[: self._end.send(self._waiting, socket.MSG_DONTWAIT)]
        except BlockingIOError:
            return
        except OSError:
            self._waiting.clear()
