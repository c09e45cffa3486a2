"""DIRAC's accounting type "Job", a line of JSON each. Pure.

It has neither job nor processors: ExecTime is the wall clock times the processors. DIRAC's server
refuses an ExecTime of more than a year, which long jobs on many processors reach.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from telemetry.clock import parse_utc
from telemetry.identity import UserName
from telemetry.ledger.formats.usage import PAYLOAD_LEVEL, FormatError, Usage, json_line, json_lines
from telemetry.ledger.record import Record

TYPE = "Job"
KEYS = ("User", "UserGroup", "JobGroup", "JobType", "JobClass", "ProcessingType", "Site", "FinalMajorStatus",
        "FinalMinorStatus")  # fmt: skip
VALUES = ("CPUTime", "NormCPUTime", "ExecTime", "InputDataSize", "OutputDataSize", "InputDataFiles", "OutputDataFiles",
          "DiskSpace", "InputSandBoxSize", "OutputSandBoxSize", "ProcessedEvents")  # fmt: skip
#: The largest ExecTime that DIRAC takes.
MOST_EXEC_SECONDS = 33_350_400


def objection(record: Record) -> str:
    """Why DIRAC's server would refuse *record*; empty when it would not."""
    seconds = record.number("ExecTime")
    return f"DIRAC takes no ExecTime of more than {MOST_EXEC_SECONDS} s" if seconds > MOST_EXEC_SECONDS else ""


def render(records: Iterable[Record], *, users: UserName = str) -> Iterator[str]:
    """A line for each of *records*: what `DataStoreClient.addRegister` of DIRAC takes, by name."""
    for record in records:
        keys: dict[str, Any] = {name: record.text(name) or "unknown" for name in KEYS}
        keys["User"] = users(record.text("User")) if record.text("User") else "unknown"
        values = {name: round(record.number(name)) for name in VALUES}
        times = {"startTime": record.text("StartTime"), "endTime": record.text("EndTime")}
        yield json_line({"Type": TYPE, **times, **keys, **values})


def parse(lines: Iterable[str]) -> Iterator[Usage]:
    """The records of lines of JSON.

    Raises:
        FormatError: a line is no record of the type.
    """
    for number, each in json_lines(lines):
        try:
            yield _usage(each)
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(f"line {number} is no Job record of DIRAC: {error!r}") from error


def _usage(each: Mapping[str, Any]) -> Usage:
    if each["Type"] != TYPE:
        raise ValueError(f"its type is {each['Type']!r}")
    return Usage(
        site=str(each["Site"]),
        group=str(each["UserGroup"]),
        user=str(each["User"]),
        start=parse_utc(each["startTime"]) / 1e9,
        end=parse_utc(each["endTime"]) / 1e9,
        cpu_seconds=float(each["CPUTime"]),
        core_seconds=float(each["ExecTime"]),
        level=PAYLOAD_LEVEL,
    )
