"""An attempt packed for the collector; and kept so, beside its journal, while the collector cannot take it.

What is kept only saves time: nobody reads and renders the journals of a long backlog again. It counts for nothing when
the journals have grown since, when the collector has said something since, or when it is not whole.
"""

import contextlib
import json
import os
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from telemetry.journal import SUFFIX
from telemetry.outbox import Acknowledgements

HTTP_SINK = "otlp-http"
KEPT = f"{HTTP_SINK}.parcel"


@dataclass(frozen=True, kw_only=True)
class Parcel:
    """An attempt that stands in the files, or could not be written there, packed for the collector."""

    control: Path
    uid: str
    item: str
    file: Literal["accepted", "retry"]
    detail: str = ""
    #: What the collector has settled so far; None without one.
    acknowledged: Acknowledgements | None = field(default=None, repr=False)
    #: Whether it has still to settle this.
    is_owed: bool = False
    is_kept: bool = False
    #: Requests in protobuf, which may be joined.
    spans: bytes = field(default=b"", repr=False)
    logs: bytes = field(default=b"", repr=False)

    @property
    def size_bytes(self) -> int:
        """What the collector would get."""
        return len(self.spans) + len(self.logs)


def keep(parcel: Parcel) -> None:
    """Keep *parcel* for later; not durable, and no error: it can be packed again."""
    path = parcel.control / KEPT
    temporary = path.with_suffix(".new")
    with contextlib.suppress(OSError):
        body = parcel.spans + parcel.logs
        head = {
            **{"uid": parcel.uid, "item": parcel.item, "spans": len(parcel.spans), "sum": zlib.crc32(body)},
            "journals": _journals(parcel.control),
        }
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            file.write(json.dumps(head).encode() + b"\n" + body)
        temporary.replace(path)


def kept(control: Path) -> Parcel | None:
    """What was kept of the attempt in *control*, if that is all there is to send."""
    try:
        head, _, body = (control / KEPT).read_bytes().partition(b"\n")
        said = json.loads(head)
        if said["sum"] != zlib.crc32(body) or said["journals"] != _journals(control):
            return None
        uid, item, length = str(said["uid"]), str(said["item"]), int(said["spans"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    acknowledged = Acknowledgements(control, HTTP_SINK)
    if acknowledged.settled:
        return None
    return Parcel(
        control=control,
        uid=uid,
        item=item,
        file="accepted",
        acknowledged=acknowledged,
        is_owed=True,
        is_kept=True,
        spans=body[:length],
        logs=body[length:],
    )


def forget(control: Path) -> None:
    """It has been taken."""
    with contextlib.suppress(OSError):
        (control / KEPT).unlink()


def _journals(control: Path) -> dict[str, int]:
    """Size of each journal: they only grow."""
    with os.scandir(control) as found:
        return {each.name: each.stat().st_size for each in found if each.name.endswith(SUFFIX)}
