"""What the console's pages of jobs show, from the values of the API: rows, curves, bars. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from dashboards.charts import Line, lines
from dashboards.text import ago_text, fine_seconds_text
from telemetry.clock import NANOSECONDS, parse_utc

#: A value at a moment, in seconds since 1970.
Point = tuple[float, float]
#: Of a peek, so much stands on the page of a job.
PEEK_LINES, PEEK_CHARACTERS = 200, 32_000
MOST_VALUE_CHARACTERS = 2_000
TITLES = {
    "JobID": "Job",
    "MinorStatus": "Minor status",
    "JobName": "Name",
    "SubmissionTime": "Submitted (UTC)",
    "LastUpdateTime": "Last update (UTC)",
    "OwnerGroup": "Group",
    "JobType": "Type",
    "JobGroup": "Job group",
    "UserPriority": "Priority",
}
#: Fields of the form, under their names in the address.
_FIELDS = {
    "Status": "status", "Owner": "owner", "OwnerGroup": "group", "Site": "site", "JobType": "type",
    "JobGroup": "job_group", "JobName": "name",
}  # fmt: skip
_ABOUT = ("JobName", "Owner", "OwnerGroup", "Site", "JobType", "JobGroup", "UserPriority")
_TIMES = {
    "SubmissionTime": "Submitted",
    "StartExecTime": "Started",
    "HeartBeatTime": "Last heartbeat",
    "LastUpdateTime": "Last update",
    "EndExecTime": "Ended",
}
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_KILLED, _RESCHEDULED = "Killed", "Rescheduled"
_MIB = 1 << 20


@dataclass(frozen=True)
class Count:
    """How many jobs are in a status, and where they are."""

    title: str
    count: int
    address: str
    is_here: bool


@dataclass(frozen=True)
class Column:
    """The head of a column; *sorted* is how, if the table is sorted by it."""

    title: str
    address: str
    sorted: str


@dataclass(frozen=True)
class Field:
    """A field of a form; with *choices* one of them."""

    name: str
    title: str
    value: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Moment:
    """Something that the WMS heard of an ending, and what had passed *after* the first of it."""

    after: str
    what: str
    by: str


@dataclass(frozen=True, kw_only=True)
class JobValues:
    """All that is known of a job to whoever looks."""

    attributes: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]]
    may: frozenset[str]
    why: str
    usage: Sequence[Mapping[str, Any]]
    #: The output as the last heartbeat brought it, and by stream as the job's agent shows it now; if they do.
    peek: Mapping[str, Any] | None
    live: Mapping[str, str] | None
    attempts: Sequence[Mapping[str, Any]]
    records: Sequence[Mapping[str, Any]]
    sandboxes: Mapping[str, Sequence[str]]
    parameters: Mapping[str, Any]
    jdl: str
    #: When somebody looks.
    now_ns: int
    #: Whether a wrapper has the job: then heartbeats may bring more of its output.
    is_with_wrapper: bool
    has_trace: bool = field(default=False)


def fields(filters: Mapping[str, str], statuses: Sequence[str]) -> list[Field]:
    """The fields of the form above the table of jobs."""
    found = [Field("job", "Number", "")]
    for name, value in filters.items():
        choices = tuple(statuses) if name == "Status" else ()
        found.append(Field(_FIELDS[name], TITLES.get(name, name), value, choices))
    return found


def column(name: str, address: str, sorted_now: str) -> Column:
    """The head of the column *name*."""
    return Column(TITLES.get(name, name), address, sorted_now)


def job_values(job: JobValues) -> dict[str, Any]:
    """What the page of a job needs."""
    given = job.attributes
    about = [(TITLES.get(name, name), given[name]) for name in _ABOUT if given.get(name)]
    about += [(title, instant(given[name])) for name, title in _TIMES.items() if given.get(name)]
    about.append(("Attempt", int(given["RescheduleCounter"]) + 1))
    return {
        "job": given,
        "about": about,
        "why": job.why if given["Status"] == "Waiting" else "",
        "may_kill": "kill" in job.may,
        "may_reschedule": "reschedule" in job.may,
        "has_trace": job.has_trace,
        "charts": charts(job.usage),
        "peek": peek_values(job.peek, job.live, job.now_ns, PEEK_LINES, PEEK_CHARACTERS),
        "is_with_wrapper": job.is_with_wrapper,
        "ending": ending(job.history, job.attempts),
        "attempts": job.attempts,
        "records": job.records,
        "history": job.history,
        "sandboxes": list(_sandboxes(job.sandboxes)),
        "parameters": [(name, _short(value)) for name, value in sorted(job.parameters.items())],
        "jdl": job.jdl,
    }


def ending(history: Sequence[Mapping[str, Any]], attempts: Sequence[Mapping[str, Any]]) -> list[Moment]:
    """How the newest attempt was killed, from the order on, as far as the WMS heard of it; nothing if it was not."""
    begins = max((number for number, each in enumerate(history, 1) if each["Status"] == _RESCHEDULED), default=0)
    told = [
        (str(each["StatusTime"]), str(each["MinorStatus"]), str(each["Source"]))
        for each in history[begins:]
        if each["Status"] == _KILLED
    ]
    if not told:
        return []
    ended = str(attempts[-1]["EndTime"] or "") if attempts else ""
    if ended >= told[0][0]:  # both are ISO 8601 of one form
        told.append((ended, "The attempt is over", "WMS"))
    first_ns = parse_utc(told[0][0])
    return [
        Moment(f"+{fine_seconds_text((parse_utc(at) - first_ns) / NANOSECONDS)}", what, by)
        for at, what, by in sorted(told, key=lambda each: each[0])
    ]


def peek_values(
    peek: Mapping[str, Any] | None, live: Mapping[str, str] | None, now_ns: int, lines: int = 0, characters: int = 0
) -> dict[str, Any] | None:
    """What is known of the output, whence and how old; of each stream its end of *lines* and *characters*, if given."""
    if live is not None:
        streams = {name: _end(text, lines, characters) for name, text in live.items()}
        return {"is_live": True, "streams": {name: text for name, text in streams.items() if text.strip()}}
    if peek is None:
        return None
    age = ago_text((now_ns - parse_utc(str(peek["Time"]))) / NANOSECONDS)
    streams = {"output": _end(str(peek["StandardOutput"]), lines, characters)}
    return {"is_live": False, "Time": str(peek["Time"]), "age": age, "streams": streams}


def _end(text: str, lines: int, characters: int) -> str:
    kept = text[-characters:]
    return "\n".join(kept.split("\n")[-lines:]) if lines else kept


def charts(usage: Sequence[Mapping[str, Any]]) -> list[tuple[str, Markup]]:
    """The newest attempt's processors in use, memory and output over time: titles and SVG; of two points at least."""
    newest = [point for point in usage if point["Attempt"] == usage[-1]["Attempt"]]
    cpu, memory, output = (_points(newest, name) for name in ("CPUConsumed", "MemoryUsed", "OutputBytes"))
    found = []
    if len(busy := _rates(cpu)) > 1:
        found.append(_curve("Processors in use", busy, lambda value: f"{value:.3g}"))
    if len(memory) > 1:
        found.append(_sizes("Memory", [(moment, value * _MIB) for moment, value in memory]))
    if len(output) > 1:
        found.append(_sizes("Output written", output))
    return found


def _sizes(title: str, points: Sequence[Point]) -> tuple[str, Markup]:
    """A curve of bytes, in the unit that gives round numbers at its axis."""
    power = min(int(max(value for _, value in points)).bit_length() // 10, len(_UNITS) - 1)
    scaled = [(moment, value / (1 << 10 * power)) for moment, value in points]
    return _curve(title, scaled, lambda value: f"{value:.4g} {_UNITS[power]}")


def _curve(title: str, points: Sequence[Point], shown: Callable[[float], str]) -> tuple[str, Markup]:
    """The title also says to those who do not see the curve how it ends."""
    most = max(value for _, value in points)
    words = f"{title}: {shown(points[-1][1])} at the end, {shown(most)} at most"
    drawn = lines([Line(title, tuple(points))], title=words, shown=shown, height=150)
    return title, Markup(drawn)  # noqa: S704 - `dashboards.charts` has escaped what it holds


def _rates(points: Sequence[Point]) -> list[Point]:
    """From a total that grows: how fast it grew before each point but the first."""
    return [(then, max(new - old, 0.0) / (then - now)) for (now, old), (then, new) in pairwise(points) if then > now]


def instant(moment: Any) -> str:
    """A moment of the API to the second."""
    return f"{str(moment)[:19].replace('T', ' ')} UTC" if moment else ""


def _points(usage: Sequence[Mapping[str, Any]], name: str) -> list[Point]:
    return [(each["Time"] / 1e9, float(each[name])) for each in usage if each[name] is not None]


def _sandboxes(names: Mapping[str, Sequence[str]]) -> Iterable[dict[str, str]]:
    for kind, several in names.items():
        for name in several:
            address = f"/console/sandboxes?pfn={quote(name, safe='')}"
            yield {"kind": kind, "title": name.rpartition("/")[2], "address": address}


def _short(value: Any) -> str:
    said = str(value)
    return said if len(said) <= MOST_VALUE_CHARACTERS else f"{said[:MOST_VALUE_CHARACTERS]} ..."
