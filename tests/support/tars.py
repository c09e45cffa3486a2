"""Archives made by hand: good ones, and ones that no honest tool would write."""

import bz2
import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import zstandard

COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "tar.gz": gzip.compress,
    "tar.bz2": bz2.compress,
    "tar.zst": lambda data: zstandard.ZstdCompressor().compress(data),
}


def entry(name: str, content: bytes = b"", *, kind: bytes = tarfile.REGTYPE, mode: int = 0o644, **changes: object):
    """A member and its content; *changes* are further attributes of its TarInfo."""
    info = tarfile.TarInfo(name)
    info.size, info.type, info.mode = len(content), kind, mode
    for attribute, value in changes.items():
        setattr(info, attribute, value)
    return info, content


def tar(*members: tuple[tarfile.TarInfo, bytes], format: int = tarfile.PAX_FORMAT) -> bytes:
    """The members as an uncompressed archive, whatever they are."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def write(path: Path, data: bytes, format: str = "tar.gz") -> Path:
    """*data* compressed into the file *path*."""
    path.write_bytes(COMPRESSORS[format](data))
    return path


def snapshot(folder: Path) -> dict[str, bytes | str]:
    """Everything below *folder*: content of files, and what else there is."""
    found: dict[str, bytes | str] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"link to {path.readlink()}"
        else:
            found[name] = path.read_bytes() if path.is_file() else "folder"
    return found
