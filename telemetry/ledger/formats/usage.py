"""What every format tells of a job, in one form; and what all of them need to write it. Pure."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from telemetry.clock import NANOSECONDS
from telemetry.ledger.record import Record

#: Of whatever we write: a job in a pilot, never the pilot itself.
PAYLOAD_LEVEL = "payload"


class FormatError(ValueError):
    """Not of this format; the message says where and why."""


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What one job has used. Times are seconds since 1970; None: the format does not tell.

    `uid` is the identity of the attempt, where a record of ours is behind it, else whatever names the job there.
    """

    uid: str = ""
    site: str = ""
    vo: str = ""
    group: str = ""
    user: str = ""
    computing_element: str = ""
    queue: str = ""
    start: float | None = None
    end: float | None = None
    wall_seconds: float | None = None
    cpu_seconds: float = 0.0
    #: Wall clock times processors.
    core_seconds: float | None = None
    processors: int | None = None
    benchmark: str = ""
    benchmark_value: float | None = None
    #: "payload" when it says so; a batch system's own records say nothing.
    level: str = ""


@dataclass(frozen=True, kw_only=True)
class SummedUsage:
    """What the jobs of a month have used that agree in everything else."""

    year: int
    month: int
    site: str
    vo: str = ""
    group: str = ""
    user: str = ""
    computing_element: str = ""
    processors: int | None = None
    benchmark: str = ""
    benchmark_value: float | None = None
    jobs: int
    wall_seconds: float
    cpu_seconds: float
    earliest_end: float | None = None
    latest_end: float | None = None
    level: str = ""


def objection(record: Record) -> str:
    """Why nobody would take *record*; empty when nothing speaks against it."""
    if not record.text("Site"):
        return "it names no site"
    if record.utc_ns("EndTime") < record.utc_ns("StartTime"):
        return "it ends before it starts"
    if min(record.number("WallClockTime"), record.number("CPUTime")) < 0:
        return "it has a negative duration"
    if record.integer("Processors") < 1:
        return "it has no processors"
    return ""


def epoch(record: Record, name: str) -> float:
    """The time field *name* as seconds since 1970."""
    return record.utc_ns(name) / NANOSECONDS


def group_path(record: Record) -> str:
    """VO and group in the form of VOMS: `/vo/group`."""
    return "".join(f"/{part}" for part in (record.text("VO"), record.text("UserGroup")) if part)


def group_parts(path: str) -> tuple[str, str]:
    """VO and group of what `group_path` made, or of any FQAN."""
    parts = [part for part in path.split("/") if part and "=" not in part]
    return (parts[0], "/".join(parts[1:])) if parts else ("", "")


def json_lines(lines: Iterable[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The JSON objects of *lines*, each with the number of its line; an array counts as its items.

    Raises:
        FormatError: a line is no JSON object.
    """
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            raise FormatError(f"line {number} is not JSON: {error}") from error
        for each in value if isinstance(value, list) else [value]:
            if not isinstance(each, dict):
                raise FormatError(f"line {number} is no JSON object")
            yield number, each


def json_line(value: Mapping[str, Any]) -> str:
    """*value* as one line of ASCII: for some readers a text may hold further ends of lines."""
    return json.dumps(value, separators=(",", ":")) + "\n"
