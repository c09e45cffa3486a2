"""The fingerprint of a record, and the digest of an hour: what two holders of records compare before these. Pure.

The *line* of a record is these fields joined by `|`, those that are not known empty:

    UID | Site | Processors | WallClockTime | CPUTime | EndTime | BenchmarkValue | BenchmarkName

times and durations in whole microseconds (EndTime since 1970, UTC), the benchmark's value in whole millionths. The MD5
of the line (UTF-8) gives the fingerprint: two numbers of 32 bits, its first eight digits and the next eight. The digest
of an hour is how many records ended in it, and the sums of both numbers of theirs, not cut: every database can add
them up, and changes that cancel in sums of times do not cancel here. It guards against accidents, not against forgers.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from telemetry.clock import parse_utc

HOUR_NS = 3_600_000_000_000


@dataclass(frozen=True, kw_only=True)
class HourDigest:
    """The records that ended in the hour that begins at `hour_ns`.

    `delay_ns` is by how much the latest of them arrived after its end: no part of what is compared.
    """

    hour_ns: int
    records: int
    high: int
    low: int
    delay_ns: int = 0


def fingerprint(record: Mapping[str, Any]) -> tuple[int, int]:
    """The two numbers of *record*."""
    end = record.get("EndTime")
    line = "|".join(
        (
            str(record.get("UID") or ""),
            str(record.get("Site") or ""),
            str(record["Processors"]) if record.get("Processors") is not None else "",
            _millionths(record.get("WallClockTime")),
            _millionths(record.get("CPUTime")),
            str(parse_utc(str(end)) // 1000) if end else "",
            _millionths(record.get("BenchmarkValue")),
            str(record.get("BenchmarkName") or ""),
        )
    )
    digits = hashlib.md5(line.encode(), usedforsecurity=False).hexdigest()
    return int(digits[:8], 16), int(digits[8:16], 16)


def _millionths(value: Any) -> str:
    return "" if value is None else str(round(float(value) * 1_000_000))
