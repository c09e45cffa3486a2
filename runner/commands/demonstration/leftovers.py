"""What a site must not leave behind: processes that descend from us, ports that still answer.

The demonstration is a subreaper: whatever daemonises itself below it becomes its child when its own
parent has gone, so nothing can leave the family and be missed.
"""

import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

from runner.commands.jobs import until
from runner.compose.clients import METRICS_URL_FILE, URL_FILE

CONNECT_SECONDS = 1.0


def addresses(folder: Path) -> list[tuple[str, int]]:
    """Where WMS and agent of *folder* listen now."""
    found = []
    for name in (URL_FILE, METRICS_URL_FILE):
        if (folder / name).is_file():
            parts = urlsplit((folder / name).read_text().strip())
            found.append((parts.hostname or "", parts.port or 0))
    return found


def leftovers(listening: list[tuple[str, int]], within_seconds: float = 5.0) -> list[str]:
    """Processes below us and ports of *listening* that are still there after *within_seconds*, each in words."""
    until(lambda: not descendants(os.getpid()) and not _answering(listening), within_seconds)
    processes = [f"process {pid} still runs: {_command(pid)}" for pid in descendants(os.getpid())]
    return processes + [f"port {place[1]} still answers" for place in _answering(listening)]


def descendants(pid: int) -> list[int]:
    """All living processes below *pid*; those that have ended and wait to be reaped do not count."""
    found = []
    for child in _children(pid):
        if _state(child) not in ("Z", "X", ""):
            found.append(child)
        found.extend(descendants(child))
    return found


def _children(pid: int) -> list[int]:
    """Children of all threads of a process."""
    texts = [_read(path) for path in Path(f"/proc/{pid}/task").glob("*/children")]
    return [int(child) for text in texts for child in text.split()]


def _answering(listening: list[tuple[str, int]]) -> list[tuple[str, int]]:
    found = []
    for place in listening:
        try:
            socket.create_connection(place, timeout=CONNECT_SECONDS).close()
        except OSError:
            continue
        found.append(place)
    return found


def _state(pid: int) -> str:
    fields = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return fields[0] if fields else ""


def _command(pid: int) -> str:
    return _read(Path(f"/proc/{pid}/cmdline")).replace("\0", " ").strip()[:80]


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError:
        return ""
