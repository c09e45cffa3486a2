"""The fold of status updates into a job's status. Pure.

Order is by the time of the updates, not by their arrival (DiracX): an update no younger than the
newest record is late, and only logged. Four things differ on purpose. A refused transition
changes nothing at all (DiracX applies its minor status and times). An order to kill is never late,
so that a clock that runs ahead cannot make a job unkillable. No record is kept with a time in the
future. And no status takes a job whose attempt was handed out back to before its match.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from runner.job.status import GIVEN_UP, JobStatus, is_allowed
from runner.server.db.schema import MICROSECOND

ORDERS = frozenset({JobStatus.KILLED, JobStatus.DELETED})
#: On the way to a wrapper, which an attempt goes once: nothing but its number tells two executions apart.
_BEFORE_A_WRAPPER = frozenset({
    JobStatus.SUBMITTING, JobStatus.RECEIVED, JobStatus.CHECKING, JobStatus.STAGING, JobStatus.WAITING,
    JobStatus.MATCHED,
})  # fmt: skip


@dataclass(frozen=True)
class Update:
    """What somebody reports. None leaves a part as it is."""

    time_ns: int
    status: JobStatus | None
    minor: str | None
    application: str | None
    source: str


@dataclass(frozen=True)
class Present:
    """A job as it is. `reported_ns`: updates up to this time are late. `logged_ns`: newest record of the history."""

    status: JobStatus
    minor: str
    application: str
    reported_ns: int
    logged_ns: int


@dataclass(frozen=True)
class Record:
    """A line of the history. None: it did not say."""

    status: str | None
    minor: str | None
    application: str | None
    time_ns: int
    source: str


@dataclass(frozen=True)
class Folded:
    """What came of the updates: the job after them, the lines for its history, the accepted and the late ones."""

    present: Present
    records: tuple[Record, ...]
    accepted: tuple[tuple[Update, int], ...]  # with the time under which it stands in the history
    in_time: bool
    reason: str  # why the last refused update was refused; empty when none was
    late: tuple[Update, ...]


def fold(present: Present, updates: Iterable[Update], *, arrival_ns: int, policy: "Rules") -> Folded:
    """Apply *updates* to *present*, in the order of their times."""
    records: list[Record] = []
    accepted: list[tuple[Update, int]] = []
    late: list[Update] = []
    in_time, reason = False, ""
    for update in sorted(updates, key=lambda each: each.time_ns):
        if update.time_ns <= present.reported_ns and not policy.is_order(update):
            time_ns = min(update.time_ns, arrival_ns)
            records.append(Record(update.status, update.minor, update.application, time_ns, update.source[:32]))
            late.append(update)
            continue
        in_time = True
        refusal = policy.refusal(present, update)
        present, record = _refused(present, update, arrival_ns) if refusal else _applied(present, update, arrival_ns)
        records.append(record)
        reason = refusal or reason
        if not refusal:
            accepted.append((update, record.time_ns))
    return Folded(present, tuple(records), tuple(accepted), in_time, reason, tuple(late))


@dataclass(frozen=True)
class Rules:
    """Who reports decides what is possible."""

    #: An administrator may set any status, but for those that would hand out an attempt once more.
    forced: bool = False
    #: People kill; a wrapper only confirms that it was killed.
    by_wrapper: bool = False
    #: The number of the job's attempt, once a slot was given it.
    handed_out: int | None = None

    def is_order(self, update: Update) -> bool:
        """Whether *update* is an order to kill or delete, which has no order in time."""
        return update.status in ORDERS and not self.by_wrapper

    def refusal(self, present: Present, update: Update) -> str:
        """Why *update* is impossible; empty when it is not."""
        if self.by_wrapper and present.status in ORDERS and update.status != present.status:
            return f"the job is {present.status}; its wrapper has no say any more"
        if self.by_wrapper and _is_given_up(present) and (update.status, update.minor) != (None, None):
            return f"the WMS has given the job up ({present.minor}); that stands"
        if self.by_wrapper and present.status is JobStatus.COMPLETED and update.status is JobStatus.DONE:
            return "a job with pending requests becomes Done by their executor alone"
        if update.status in (None, present.status):
            return ""
        if self.handed_out is not None and update.status in _BEFORE_A_WRAPPER:
            return (
                f"attempt {self.handed_out} was handed out, so that the job cannot become {update.status}; "
                "ask for a reschedule"
            )
        if not self.forced and not is_allowed(present.status, update.status):
            return f"a job that is {present.status} cannot become {update.status}"
        return ""


def _is_given_up(present: Present) -> bool:
    return present.status is JobStatus.FAILED and present.minor in GIVEN_UP


def _applied(present: Present, update: Update, arrival_ns: int) -> tuple[Present, Record]:
    status = update.status or (JobStatus.RUNNING if present.status is JobStatus.STALLED else present.status)
    after = replace(
        _later(present, update, arrival_ns),
        status=status,
        minor=present.minor if update.minor is None else update.minor,
        application=present.application if update.application is None else update.application,
    )
    return after, Record(status, after.minor, after.application, after.logged_ns, update.source[:32])


def _refused(present: Present, update: Update, arrival_ns: int) -> tuple[Present, Record]:
    after = _later(present, update, arrival_ns)
    source = f"{update.source[:28]}(SM)"
    return after, Record(present.status, present.minor, present.application, after.logged_ns, source)


def _later(present: Present, update: Update, arrival_ns: int) -> Present:
    logged_ns = max(min(update.time_ns, arrival_ns), present.logged_ns + MICROSECOND)
    return replace(present, reported_ns=max(present.reported_ns, update.time_ns), logged_ns=logged_ns)
