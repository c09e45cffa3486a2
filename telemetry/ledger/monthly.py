"""A month of accounting: what was used by VO, group, site and cores; what is missing of it, and what came late. Pure.

An attempt belongs to the month in which it ended by the clock of its node. After the closing date nothing that arrives
changes what was reported, so whatever came later, and what is not there at all, is told apart.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import NamedTuple

from telemetry.clock import NANOSECONDS, utc_text
from telemetry.ledger.record import Record

#: Of the next month; sites report to WLCG until then.
CLOSING_DAY = 8
#: Nobody misses a record before that.
GRACE_SECONDS = 3600
#: Missing and late attempts that are named; the others are counted.
MOST_NAMED = 1000
_MONTH = re.compile(r"(\d{4})-(0[1-9]|1[0-2])")


class Month(NamedTuple):
    """A month in UTC."""

    year: int
    month: int

    @classmethod
    def of(cls, text: str) -> "Month":
        """Read `2026-11`.

        Raises:
            ValueError: it is no month.
        """
        found = _MONTH.fullmatch(text)
        if found is None or not 1970 <= int(found[1]) < 2200:
            raise ValueError(f"{text!r} is no month such as 2026-11")
        return cls(int(found[1]), int(found[2]))

    @property
    def next(self) -> "Month":
        """The month after it."""
        return Month(self.year + self.month // 12, self.month % 12 + 1)

    @property
    def start_ns(self) -> int:
        """Its first moment, nanoseconds since 1970."""
        return int(datetime(self.year, self.month, 1, tzinfo=UTC).timestamp()) * NANOSECONDS

    @property
    def bounds(self) -> tuple[str, str]:
        """Its first moment and that of the next month, as text."""
        return utc_text(self.start_ns), utc_text(self.next.start_ns)

    @property
    def closing_date(self) -> date:
        """The last day on which a record is in time, unless somebody says otherwise."""
        return date(*self.next, CLOSING_DAY)

    def __str__(self) -> str:
        return f"{self.year:04d}-{self.month:02d}"


class Share(NamedTuple):
    """What usage is told apart by."""

    vo: str
    group: str
    site: str
    cores: int
    benchmark: str


@dataclass
class _Sum:
    jobs: int = 0
    not_done: int = 0
    wall_us: int = 0
    core_us: int = 0
    cpu_us: int = 0
    norm_cpu_us: int = 0
    work: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Used:
    """What the jobs of one share have used.

    `work_hours` are core hours times the score of a core in the share's benchmark; 0 without a benchmark.
    """

    share: Share
    jobs: int
    not_done: int
    wall_hours: float
    core_hours: float
    cpu_hours: float
    norm_cpu_hours: float
    work_hours: float

    @property
    def efficiency(self) -> float | None:
        """CPU of all core time; None without any."""
        return self.cpu_hours / self.core_hours if self.core_hours else None


@dataclass(frozen=True, kw_only=True)
class Gap:
    """An attempt whose record is not there, or was not there in time. `core_hours` None: nobody knows."""

    uid: str
    job_id: int
    attempt: int
    kind: str
    site: str
    end: str
    arrived: str
    core_hours: float | None


@dataclass(frozen=True, kw_only=True)
class MonthReport:
    """The month; `gaps` are the first ones, `gap_counts` all of them by their kind."""

    month: Month
    closing: date
    used: tuple[Used, ...]
    gaps: tuple[Gap, ...]
    gap_counts: Mapping[str, int]

    @property
    def is_complete(self) -> bool:
        """Whether nothing is missing or came late."""
        return not any(self.gap_counts.values())


@dataclass
class MonthFold:
    """Takes records and attempts one by one; holds a sum for each share and a name for each record, no more."""

    month: Month
    closing: date
    now_ns: int
    #: Whether an attempt (UID, JobID) has a record at all, of whatever month.
    is_recorded: Callable[[str, int], bool]
    _sums: dict[Share, _Sum] = field(default_factory=dict)
    _held: set[str] = field(default_factory=set)
    _gaps: list[Gap] = field(default_factory=list)
    _counts: dict[str, int] = field(default_factory=lambda: {"missing": 0, "estimated": 0, "late": 0})

    @property
    def _closed_ns(self) -> int:
        """The first moment after the closing date."""
        return ((self.closing - date(1970, 1, 1)).days + 1) * 86400 * NANOSECONDS  # no date is after the last one

    def add(self, record: Record, arrived_ns: int) -> None:
        """A record that counts, and when it came."""
        self._held.add(record.text("UID"))
        total = self._sums.setdefault(_share(record), _Sum())
        total.jobs += 1
        total.not_done += record.text("FinalMajorStatus") not in ("Done", "Completed")
        total.wall_us += record.micros("WallClockTime")
        total.core_us += record.micros("ExecTime")
        total.cpu_us += record.micros("CPUTime")
        total.norm_cpu_us += record.micros("NormCPUTime")
        total.work += record.number("ExecTime") * record.number("BenchmarkValue")
        if arrived_ns >= self._closed_ns:
            self._note("late", record, arrived_ns)
        elif record["RecordedBy"] == "wms":
            self._note("estimated", record, arrived_ns)

    def add_attempt(self, uid: str, job_id: int, attempt: int, end_ns: int) -> None:
        """An attempt that has ended in this month, as the WMS has seen; after all records.

        That learns of an end later than the node, of a stalled job's much later: what has no record in this month may
        have one in another.
        """
        is_due = uid not in self._held and self.now_ns - end_ns > GRACE_SECONDS * NANOSECONDS
        if is_due and not self.is_recorded(uid, job_id):
            gap = Gap(
                uid=uid, job_id=job_id, attempt=attempt, kind="missing", site="", end=utc_text(end_ns), arrived="",
                core_hours=None,
            )  # fmt: skip
            self._keep(gap)

    def report(self) -> MonthReport:
        """What it comes to."""
        used = sorted((_used(share, total) for share, total in self._sums.items()), key=lambda each: each.share)
        return MonthReport(
            month=self.month,
            closing=self.closing,
            used=tuple(used),
            gaps=tuple(self._gaps),
            gap_counts=dict(self._counts),
        )

    def _note(self, kind: str, record: Record, arrived_ns: int) -> None:
        gap = Gap(
            uid=record.text("UID"),
            job_id=record.integer("JobID"),
            attempt=record.integer("Attempt"),
            kind=kind,
            site=record.text("Site"),
            end=record.text("EndTime"),
            arrived=utc_text(arrived_ns),
            core_hours=record.number("ExecTime") / 3600,
        )
        self._keep(gap)

    def _keep(self, gap: Gap) -> None:
        self._counts[gap.kind] += 1
        if len(self._gaps) < MOST_NAMED:
            self._gaps.append(gap)


def summed(used: Iterable[Used], share: Share) -> Used:
    """All of *used* as one, under the name *share*."""
    rows = tuple(used)
    return Used(
        share=share,
        jobs=sum(each.jobs for each in rows),
        not_done=sum(each.not_done for each in rows),
        wall_hours=sum(each.wall_hours for each in rows),
        core_hours=sum(each.core_hours for each in rows),
        cpu_hours=sum(each.cpu_hours for each in rows),
        norm_cpu_hours=sum(each.norm_cpu_hours for each in rows),
        work_hours=sum(each.work_hours for each in rows),
    )


def _share(record: Record) -> Share:
    benchmark = record.text("BenchmarkName") if record.number("BenchmarkValue") > 0 else ""
    return Share(
        record.text("VO"), record.text("UserGroup"), record.text("Site"), record.integer("Processors"), benchmark
    )


def _used(share: Share, total: _Sum) -> Used:
    return Used(
        share=share,
        jobs=total.jobs,
        not_done=total.not_done,
        wall_hours=total.wall_us / 3.6e9,
        core_hours=total.core_us / 3.6e9,
        cpu_hours=total.cpu_us / 3.6e9,
        norm_cpu_hours=total.norm_cpu_us / 3.6e9,
        work_hours=total.work / 3600 if share.benchmark else 0.0,
    )
