"""The blocks of OGF's usage record 2.0 (GFD-R-P.204), a line of JSON each. Pure.

The standard is XML; its element names and its durations (`PT12.5S`) are kept.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from telemetry.clock import parse_utc
from telemetry.identity import UserName
from telemetry.ledger.formats.usage import PAYLOAD_LEVEL, FormatError, Usage, json_line, json_lines
from telemetry.ledger.record import Record

_DURATION = re.compile(r"PT(\d+(?:\.\d+)?)S")


def render(records: Iterable[Record], *, users: UserName = str) -> Iterator[str]:
    """A line for each of *records*."""
    for record in records:
        yield json_line(_record(record, users))


def parse(lines: Iterable[str]) -> Iterator[Usage]:
    """The records of lines of JSON.

    Raises:
        FormatError: a line is no such record.
    """
    for number, each in json_lines(lines):
        try:
            yield _usage(each)
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(f"line {number} is no usage record: {error!r}") from error


def _record(record: Record, users: UserName) -> dict[str, Any]:
    user = users(record.text("User")) if record.text("User") else ""
    subject = {"LocalUserId": user, "GlobalGroup": record.text("VO"), "LocalGroup": record.text("UserGroup")}
    compute: dict[str, Any] = {
        "CpuDuration": f"PT{record.number('CPUTime'):.6f}S",
        "WallDuration": f"PT{record.number('WallClockTime'):.6f}S",
        "StartTime": record.text("StartTime"),
        "EndTime": record.text("EndTime"),
        "ExecutionHost": record.text("HostName"),
        "Processors": record.integer("Processors"),
        "NodeCount": 1,
    }
    if record["ExitCode"] is not None:
        compute["ExitStatus"] = record.integer("ExitCode")
    if record.text("BenchmarkName"):
        compute["ServiceLevel"] = {"Type": record.text("BenchmarkName"), "Value": record.number("BenchmarkValue")}
    return {
        "RecordIdentity": {"RecordId": record.text("UID"), "CreateTime": record.text("RecordTime")},
        "SubjectIdentity": {"Site": record.text("Site"), **{name: text for name, text in subject.items() if text}},
        "JobUsage": {
            "GlobalJobId": record.text("UID"),
            "LocalJobId": f"{record.integer('JobID')}.{record.integer('Attempt')}",
            "SubmitHost": record.text("CE"),
            "Queue": record.text("Queue"),
            "SubmitTime": record.text("SubmissionTime"),
            "Status": record.text("FinalMajorStatus"),
            "Infrastructure": PAYLOAD_LEVEL,
        },
        "ComputeUsage": compute,
        "MemoryUsage": {"MemoryResourceCapacityUsed": record.integer("PeakRSS"), "MemoryClass": "RAM"},
    }


def _usage(each: Mapping[str, Any]) -> Usage:
    compute, job, subject = each["ComputeUsage"], each["JobUsage"], each["SubjectIdentity"]
    level = compute.get("ServiceLevel", {})
    wall, processors = _seconds(compute["WallDuration"]), int(compute.get("Processors", 1))
    return Usage(
        uid=str(each["RecordIdentity"]["RecordId"]),
        site=str(subject["Site"]),
        vo=str(subject.get("GlobalGroup", "")),
        group=str(subject.get("LocalGroup", "")),
        user=str(subject.get("LocalUserId", "")),
        computing_element=str(job.get("SubmitHost", "")),
        queue=str(job.get("Queue", "")),
        start=parse_utc(compute["StartTime"]) / 1e9,
        end=parse_utc(compute["EndTime"]) / 1e9,
        wall_seconds=wall,
        cpu_seconds=_seconds(compute["CpuDuration"]),
        core_seconds=wall * processors,
        processors=processors,
        benchmark=str(level.get("Type", "")),
        benchmark_value=float(level["Value"]) if level else None,
        level=str(job.get("Infrastructure", "")),
    )


def _seconds(duration: str) -> float:
    found = _DURATION.fullmatch(duration)
    if found is None:
        raise ValueError(f"{duration!r} is no duration such as PT12.5S")
    return float(found[1])
