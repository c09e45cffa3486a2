"""Whether there is room for another job: on the disk, and in the outbox.

What a job must leave behind (its final status, its record, its requests) has space of its own,
reserved in its journal before its payload starts. Here it is asked before a job is taken.
"""

import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence

from runner.agent.folders import JobFolder
from runner.config import Config
from telemetry.journal import RESERVE_BYTES

#: How long the sizes of the outbox are believed.
LOOK_SECONDS = 5.0
log = logging.getLogger("jobspan.agent")


class Room:
    """Asked by the taker before each match; tells what is new to the log and to *tell*."""

    def __init__(
        self,
        config: Config,
        owed: Callable[[], Sequence[JobFolder]],
        tell: Callable[[Mapping[str, str]], None],
    ) -> None:
        """*owed* are the ended attempts of which the WMS has not taken everything."""
        self._config = config
        self._owed = owed
        self._tell = tell
        self._told: Mapping[str, str] = {}
        self._outbox = ""
        self._look_at = 0.0

    def is_short(self) -> bool:
        """Whether no new job is to be taken now."""
        shortage = {name: words for name, words in (("disk", self._disk()), ("outbox", self._backlog())) if words}
        for name in shortage.keys() - self._told.keys():
            log.warning("%s: no new job is taken", shortage[name])
        for name in self._told.keys() - shortage.keys():
            log.info("there is room %s again", "on the disk" if name == "disk" else "in the outbox")
        if shortage.keys() != self._told.keys():
            self._tell(shortage)
        self._told = shortage
        return bool(shortage)

    def _disk(self) -> str:
        free = shutil.disk_usage(self._config.folder).free
        return f"{free} bytes of disk are free, too few" if free < least_free_bytes(self._config) else ""

    def _backlog(self) -> str:
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + LOOK_SECONDS
            owed = self._owed()
            self._outbox = backlog(self._config, len(owed), sum(size_bytes(folder) for folder in owed))
        return self._outbox


def least_free_bytes(config: Config) -> int:
    """With less the agent takes no job: what is configured, and at least the reserves of all slots."""
    options = config.job_agent
    return max(options.minimum_disk_bytes, options.slots * RESERVE_BYTES if options.minimum_disk_bytes else 0)


def backlog(config: Config, attempts: int, total_bytes: int) -> str:
    """Why so many *attempts* that wait for the WMS are too many; empty when they are not."""
    options = config.job_agent
    if attempts > options.max_outbox_jobs:
        return f"{attempts} ended jobs wait for the WMS, more than MaxOutboxJobs"
    if total_bytes > options.max_outbox_bytes:
        return f"{total_bytes} bytes of ended jobs wait for the WMS, more than MaxOutboxSize"
    return ""


def size_bytes(folder: JobFolder) -> int:
    """What the control folder of an attempt takes on the disk."""
    try:
        return sum(path.stat().st_size for path in folder.control.iterdir())
    except OSError:  # removed under us
        return 0
