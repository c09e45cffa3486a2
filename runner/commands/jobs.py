"""Jobs as the WMS shows them to their users, and waiting for their end."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runner.commands.terminal import Terminal, one_line
from runner.errors import NotFoundError, UnavailableError
from runner.job.status import FINAL_STATUSES, JobStatus, MinorStatus
from runner.wms.client import WmsClient

COLUMNS = (
    "JobID", "Status", "MinorStatus", "ApplicationStatus", "JobName", "Site", "RescheduleCounter",
    "SubmissionTime", "StartExecTime", "EndExecTime", "LastUpdateTime",
)  # fmt: skip
#: What the WMS calls a job without JobName.
UNNAMED = "Unknown"
POLL_SECONDS = 0.25
#: Who has waited long is told a little later: a look costs the WMS as much as a report of a job.
LONGEST_POLL_SECONDS = 2.0
_SHARE_OF_WAIT = 0.1
#: A WMS that is away for less than this does not end a wait.
PATIENCE_SECONDS = 30.0
PAGE = 500


@dataclass(frozen=True)
class JobRow:
    """One job as the WMS has it now."""

    values: Mapping[str, Any]

    @property
    def job_id(self) -> int:
        """The number of the job."""
        return int(self.values["JobID"])

    @property
    def status(self) -> str:
        """DIRAC's status."""
        return one_line(self.values.get("Status"))

    @property
    def minor_status(self) -> str:
        """DIRAC's minor status."""
        return one_line(self.values.get("MinorStatus"))

    @property
    def name(self) -> str:
        """JobName of its description."""
        name = one_line(self.values.get("JobName"))
        return "" if name == UNNAMED else name

    @property
    def attempt(self) -> int:
        """The present attempt, from 1."""
        return int(self.values.get("RescheduleCounter") or 0) + 1

    @property
    def kill(self) -> str:
        """How far the killing of a killed job is: "kill ordered", "kill confirmed", "never ran", or ""."""
        if self.status != JobStatus.KILLED:
            return ""
        if self.minor_status == MinorStatus.RECEIVED_KILL_SIGNAL:
            return "kill confirmed"
        # With no wrapper there is nobody to confirm: the WMS has ended the job at once.
        ended_at_once = self.values.get("EndExecTime") and not self.values.get("StartExecTime")
        return "never ran" if ended_at_once else "kill ordered"

    @property
    def is_over(self) -> bool:
        """Whether nothing of it runs any more: it is final, and a killed one that ran has ended."""
        if self.status not in FINAL_STATUSES:
            return False
        killed_while_running = self.status == JobStatus.KILLED and self.values.get("StartExecTime")
        return not killed_while_running or bool(self.values.get("EndExecTime"))

    def to_json(self) -> dict[str, Any]:
        """All that is known, for `--json`."""
        return {**self.values, "Attempt": self.attempt, "Kill": self.kill}


def find(client: WmsClient, ids: Sequence[int]) -> list[JobRow]:
    """The jobs *ids*, in this order.

    Raises:
        NotFoundError: one of them does not exist, or is not ours.
    """
    found: dict[int, JobRow] = {}
    for start in range(0, len(ids), PAGE):
        condition = {"parameter": "JobID", "operator": "in", "values": list(ids[start : start + PAGE])}
        for values in client.search(COLUMNS, [condition], per_page=PAGE):
            found[int(values["JobID"])] = JobRow(values)
    missing = [str(job_id) for job_id in ids if job_id not in found]
    if missing:
        raise NotFoundError(f"there is no job {', '.join(missing)} of yours; `jobspan status` lists them")
    return [found[job_id] for job_id in ids]


def newest(client: WmsClient, count: int) -> list[JobRow]:
    """The *count* newest jobs, the newest last."""
    rows = client.search(COLUMNS, sort=[{"parameter": "JobID", "direction": "desc"}], per_page=count)
    return [JobRow(values) for values in reversed(rows)]


def watch(
    client: WmsClient, ids: Sequence[int], *, patience_seconds: float = PATIENCE_SECONDS
) -> Iterator[list[JobRow]]:
    """The jobs *ids* again and again, up to and including the moment at which all are over.

    Raises:
        UnavailableError: the WMS has been away for *patience_seconds*.
    """
    pause = threading.Event()
    begun = last_seen = time.monotonic()
    while True:
        try:
            rows = find(client, ids)
            last_seen = time.monotonic()
        except UnavailableError:
            if time.monotonic() - last_seen > patience_seconds:
                raise
        else:
            yield rows
            if all(row.is_over for row in rows):
                return
        waited = time.monotonic() - begun
        pause.wait(max(POLL_SECONDS, min(_SHARE_OF_WAIT * waited, LONGEST_POLL_SECONDS)))


def wait(client: WmsClient, ids: Sequence[int], show: Callable[[Sequence[JobRow]], None]) -> list[JobRow]:
    """Show the jobs *ids* until all are over; how they are then.

    Raises:
        UnavailableError: the WMS is away for longer than a moment.
    """
    rows: list[JobRow] = []
    for rows in watch(client, ids):
        show(rows)
    return rows


def all_done(rows: Sequence[JobRow]) -> bool:
    """Whether every job came to a good end."""
    return all(row.status == JobStatus.DONE for row in rows)


class LiveTable:
    """Jobs as they change: a table that is redrawn on a terminal, a line for each change elsewhere."""

    HEADS = ("ID", "NAME", "TRY", "STATUS", "MINOR STATUS")

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._drawn = 0
        self._seen: dict[int, tuple[str, str, int]] = {}

    def show(self, rows: Sequence[JobRow]) -> None:
        """Show what is new in *rows*."""
        changed = [row for row in rows if self._seen.get(row.job_id) != _state(row)]
        if not changed or self._terminal.as_json:
            return
        self._seen.update({row.job_id: _state(row) for row in rows})
        if self._terminal.interactive and len(rows) < self._terminal.height - 2:
            self._redraw(rows)
            return
        for row in changed:
            words = [f"job {row.job_id}", row.name, f"attempt {row.attempt}", row.status, row.minor_status, row.kill]
            self._terminal.line("  ".join(word for word in words if word))

    def _redraw(self, rows: Sequence[JobRow]) -> None:
        lines = self._terminal.table(self.HEADS, [cells(row) for row in rows])
        up = f"\x1b[{self._drawn}A" if self._drawn else ""
        self._terminal.line(up + "\n".join(f"\x1b[2K{line}" for line in lines))
        self._drawn = len(lines)


def cells(row: JobRow) -> tuple[object, ...]:
    """A row of `LiveTable`."""
    minor = f"{row.minor_status} ({row.kill})" if row.kill else row.minor_status
    return (row.job_id, row.name, row.attempt, row.status, minor)


def _state(row: JobRow) -> tuple[str, str, int]:
    return row.status, row.minor_status, row.attempt


def until(condition: Callable[[], bool], within_seconds: float) -> bool:
    """Look at *condition* until it holds, at most *within_seconds*; whether it does."""
    pause = threading.Event()
    deadline = time.monotonic() + within_seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        pause.wait(POLL_SECONDS)
    return True
