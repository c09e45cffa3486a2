"""The tar format, read as untrusted input.

Python's `tarfile` reads whatever a header asks for: pax headers of any size go into memory, sparse
maps and links are followed, and several of its releases loop or backtrack for ever on crafted
headers. Here a member is a folder or a regular file (POSIX.1-2001 ustar, with pax and GNU long
names), everything else is refused, and nothing is read that was not bounded before.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from runner.errors import HostileArchiveError, PermanentJobError

BLOCK = 512
#: Pax headers and GNU long names are this long at most, bytes.
_EXTENSION_BYTES = 64 << 10
_REFUSED = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"6": "a FIFO",
    b"7": "a contiguous file",
    b"K": "a link with a long name",
    b"S": "a sparse file",
    b"M": "a part of a multi-volume archive",
    b"V": "a volume label",
}
#: Pax keys that change what a member is; those of GNU.sparse too. Others (times, owners, comments) are not for us.
_REFUSED_KEYS = ("linkpath", "GNU.sparse", "hdrcharset", "SCHILY.realsize")
#: As which we read names anyway: UTF-8, and bytes that are none stay as they are.
_CHARSETS = ("BINARY", "ISO-IR 10646 2000 UTF-8")


class ByteSource(Protocol):
    """A decompressed stream."""

    def read(self, size: int) -> bytes:
        """Up to *size* bytes; empty at the end."""
        ...


@dataclass(frozen=True)
class Member:
    """A folder or a regular file in an archive, before its content."""

    name: str
    kind: Literal["file", "folder"]
    size_bytes: int
    #: The nine bits of rwx; never setuid, setgid or sticky.
    mode: int


class TarReader:
    """Iterates over the members of a stream; the content of each is read in between with `content`."""

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._left = 0
        self._padding = 0

    def __iter__(self) -> Iterator[Member]:
        """The members in order.

        Raises:
            HostileArchiveError: a member that is neither file nor folder, or a header beyond all bounds.
            PermanentJobError: no tar archive, damaged, or cut off (error_type damaged_archive).
        """
        overrides: dict[str, str] = {}
        while (header := self._header()) is not None:
            kind = header[156:157]
            if kind in (b"x", b"g", b"L"):
                overrides = {**overrides, **_extension(kind, self._small(header))}
                continue
            member = _member(header, kind, overrides)
            overrides = {}
            self._left, self._padding = member.size_bytes, -member.size_bytes % BLOCK
            yield member
            while self.content(1 << 16):
                pass
            self._exactly(self._padding)

    def content(self, size: int) -> bytes:
        """Up to *size* bytes of the present member; empty at its end."""
        if not self._left:
            return b""
        piece = self._source.read(min(size, self._left))
        if not piece:
            raise damaged("it is cut off within a file")
        self._left -= len(piece)
        return piece

    def _header(self) -> bytes | None:
        header = self._exactly(BLOCK)
        if not header.strip(b"\0"):
            return None
        _check_sum(header)
        return header

    def _small(self, header: bytes) -> bytes:
        """Content of an extension header."""
        size = _number(header[124:136])
        if size > _EXTENSION_BYTES:
            raise HostileArchiveError(f"the archive has an extension header of {size} bytes")
        return self._exactly(size + -size % BLOCK)[:size]

    def _exactly(self, size: int) -> bytes:
        pieces = []
        while size:
            piece = self._source.read(size)
            if not piece:
                raise damaged("it is cut off")
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)


def damaged(why: str) -> PermanentJobError:
    """The error for an archive that is no archive."""
    return PermanentJobError(f"the archive is damaged: {why}", error_type="damaged_archive")


def _check_sum(header: bytes) -> None:
    found = sum(header[:148]) + 8 * 32 + sum(header[156:])
    if found != _number(header[148:156]):
        raise damaged("a header has a wrong checksum, or it is no tar archive")


def _member(header: bytes, kind: bytes, overrides: dict[str, str]) -> Member:
    name = overrides.get("path") or _name(header)
    if kind in _REFUSED:
        raise HostileArchiveError(f"the archive has {_REFUSED[kind]}: {name!r}")
    if kind not in (b"0", b"\0", b"5"):
        raise HostileArchiveError(f"the archive has a member of the unknown type {kind!r}: {name!r}")
    size = _decimal(overrides["size"]) if "size" in overrides else _number(header[124:136])
    # In the oldest format a folder is a file whose name ends in a slash.
    is_folder = kind == b"5" or (kind == b"\0" and name.endswith("/"))
    return Member(name, "folder" if is_folder else "file", 0 if is_folder else size, _number(header[100:108]) & 0o777)


def _name(header: bytes) -> str:
    name = _text(header[:100])
    prefix = _text(header[345:500]) if header[257:263] == b"ustar\0" else ""
    return f"{prefix}/{name}" if prefix else name


def _extension(kind: bytes, content: bytes) -> dict[str, str]:
    if kind == b"L":
        return {"path": _text(content)}
    found: dict[str, str] = {}
    for key, value in _records(content):
        if key == "hdrcharset" and value in _CHARSETS:
            continue
        if key.startswith(_REFUSED_KEYS):
            raise HostileArchiveError(f"the archive has a pax header with {key}")
        if key in ("path", "size"):
            found[key] = value
    if kind == b"g" and found:
        raise HostileArchiveError("the archive has a global pax header that names files")
    return found


def _records(content: bytes) -> Iterator[tuple[str, str]]:
    """The `length key=value` records of a pax header."""
    while content:
        digits, blank, _ = content[:12].partition(b" ")
        length = _decimal(digits.decode("ascii", "replace")) if blank else 0
        record = content[len(digits) + 1 : length]
        key, equals, value = record.removesuffix(b"\n").partition(b"=")
        if length > len(content) or not record.endswith(b"\n") or not equals:
            raise damaged("a pax header is malformed")
        yield os.fsdecode(key), os.fsdecode(value)
        content = content[length:]


def _text(field: bytes) -> str:
    return os.fsdecode(field.partition(b"\0")[0])


def _decimal(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 20:
        raise damaged(f"{text!r} is no number")
    return int(text)


def _number(field: bytes) -> int:
    """Octal digits, or GNU's base 256."""
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:], "big")
    text = field.partition(b"\0")[0].strip(b" ")
    if text.strip(b"01234567"):
        raise damaged(f"{field!r} is no number")
    return int(text or b"0", 8)
