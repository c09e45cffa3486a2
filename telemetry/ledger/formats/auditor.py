"""Records of AUDITOR, a line of JSON each, in the form in which its server takes them. Pure.

Components are whole amounts: `Cores` with the benchmark as its score, `TotalCPU` in seconds,
`Memory` (the peak) in MB, `NNodes`. AUDITOR derives the runtime from start and stop.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote

from telemetry.clock import parse_utc, utc_text
from telemetry.identity import UserName
from telemetry.ledger.formats.usage import (
    PAYLOAD_LEVEL,
    FormatError,
    Usage,
    group_parts,
    group_path,
    json_line,
    json_lines,
)
from telemetry.ledger.record import Record

#: What AUDITOR takes in no text.
_FORBIDDEN = re.compile(r'[/()"<>\\{}%\x00-\x1f\x7f]')


def render(records: Iterable[Record], *, users: UserName = str) -> Iterator[str]:
    """A line for each of *records*."""
    for record in records:
        yield json_line(_record(record, users))


def parse(lines: Iterable[str]) -> Iterator[Usage]:
    """The records of lines of JSON, or of one line with an array, as AUDITOR's server answers.

    Raises:
        FormatError: a line is no record.
    """
    for number, each in json_lines(lines):
        try:
            yield _usage(each)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise FormatError(f"line {number} is no record of AUDITOR: {error!r}") from error


def _record(record: Record, users: UserName) -> dict[str, Any]:
    scores = []
    if record.text("BenchmarkName") and record.number("BenchmarkValue") > 0:
        scores.append({"name": _safe(record.text("BenchmarkName")), "value": record.number("BenchmarkValue")})
    meta = {
        "site_id": record.text("Site"),
        "user_id": users(record.text("User")) if record.text("User") else "",
        "group_id": record.text("UserGroup"),
        "voms": group_path(record),
        "ce": record.text("CE"),
        "queue": record.text("Queue"),
        "level": PAYLOAD_LEVEL,
        "job_id": f"{record.integer('JobID')}.{record.integer('Attempt')}",
    }
    start, stop = record.utc_ns("StartTime"), record.utc_ns("EndTime")
    return {
        "record_id": record.text("UID"),
        "start_time": utc_text(start),
        "stop_time": utc_text(stop),
        "runtime": (stop - start) // 1_000_000_000,
        "components": [
            {"name": "Cores", "amount": record.integer("Processors"), "scores": scores},
            _component("TotalCPU", round(record.number("CPUTime"))),
            _component("Memory", record.integer("PeakRSS") // 1_000_000),
            _component("NNodes", 1),
        ],
        "meta": {name: [_safe(value)] for name, value in meta.items() if value},
    }


def _component(name: str, amount: int) -> dict[str, Any]:
    return {"name": name, "amount": amount, "scores": []}


def _usage(each: Mapping[str, Any]) -> Usage:
    components = {part["name"]: part for part in each.get("components") or ()}
    meta = {name: unquote(str(values[0])) for name, values in (each.get("meta") or {}).items() if values}
    start_ns, stop_ns = parse_utc(each["start_time"]), parse_utc(each["stop_time"])
    wall = (stop_ns - start_ns) / 1e9
    cores = components.get("Cores", {})
    processors = int(cores.get("amount", 1))
    score: Mapping[str, Any] = next(iter(cores.get("scores") or ()), {})
    vo, group = group_parts(meta.get("voms", ""))
    return Usage(
        uid=str(each["record_id"]),
        site=meta.get("site_id", ""),
        vo=vo,
        group=group or meta.get("group_id", ""),
        user=meta.get("user_id", ""),
        computing_element=meta.get("ce", ""),
        queue=meta.get("queue", ""),
        start=start_ns / 1e9,
        end=stop_ns / 1e9,
        wall_seconds=wall,
        cpu_seconds=float(components.get("TotalCPU", {}).get("amount", 0)),
        core_seconds=wall * processors,
        processors=processors,
        benchmark=str(score.get("name", "")),
        benchmark_value=float(score["value"]) if score else None,
        level=meta.get("level", ""),
    )


def _safe(text: str) -> str:
    return _FORBIDDEN.sub(lambda found: quote(found[0], safe=""), text)
