"""APEL's messages: individual jobs (v0.3, v0.4) and summaries (v0.2, v0.4). Pure.

`Key: value` lines, `%%` after each record, at most 1000 records a message. Durations are whole
seconds, and a summary is the sum of the rounded ones, so that it equals what APEL makes of the
individual messages. v0.4 names the benchmark within ServiceLevel, v0.3 and v0.2 beside it.
`InfrastructureType` is `payload`: neither `grid` nor `local`, which a batch system's records have.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, TypeAlias

from telemetry.identity import UserName
from telemetry.ledger.formats.usage import (
    PAYLOAD_LEVEL,
    FormatError,
    SummedUsage,
    Usage,
    epoch,
    group_parts,
    group_path,
)
from telemetry.ledger.record import Record

Version: TypeAlias = Literal["v0.3", "v0.4"]
INDIVIDUAL = "APEL-individual-job-message"
SUMMARY = "APEL-summary-job-message"
#: Summaries of the time of v0.3 are v0.2: v0.3 is the header of normalised ones.
SUMMARY_VERSIONS: Mapping[Version, str] = {"v0.3": "v0.2", "v0.4": "v0.4"}
END = "%%"
MOST_RECORDS = 1000
DESCRIPTION = "JOBSPAN-PAYLOAD"
#: Benchmarks that APEL knows, by the names that people give them; the most believed one first.
BENCHMARKS = {
    "hepscore23": "hepscore23", "hs23": "hepscore23", "hepscore": "hepscore23",
    "hepspec": "hepspec", "hepspec06": "hepspec", "hs06": "hepspec", "si2k": "si2k",
}  # fmt: skip
#: What APEL takes for nothing at all.
_NOTHING = frozenset({"none", "null", ""})
_STEERING = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
#: APEL's own reader ends a record wherever this stands, also within a value.
_ENDS = re.compile("%{2,}")
_Fields: TypeAlias = dict[str, str]


def objection(record: Record, version: Version) -> str:
    """Why APEL's server would refuse *record*; empty when it would not.

    Its reader of v0.4 (2.5.0) fails for want of a benchmark; that of v0.3 then counts unscaled.
    """
    if version == "v0.4" and not _benchmark(record)[0]:
        return (
            f"v0.4 wants a benchmark that APEL knows ({', '.join(dict.fromkeys(BENCHMARKS.values()))}); v0.3 does not"
        )
    return ""


def individual(records: Iterable[Record], *, version: Version = "v0.3", users: UserName = str) -> Iterator[str]:
    """Messages with a record for each of *records*."""
    yield from _messages(f"{INDIVIDUAL}: {version}", (_job(record, version, users) for record in records))


def summary(records: Iterable[Record], *, version: Version = "v0.3", users: UserName = str) -> Iterator[str]:
    """Messages with a record for each month and combination of whatever APEL tells apart."""
    sums: dict[_Key, _Sum] = {}
    for record in records:
        sums.setdefault(_key(record, users), _Sum()).add(record)
    rows = (_summed(key, sums[key], version) for key in sorted(sums))
    yield from _messages(f"{SUMMARY}: {SUMMARY_VERSIONS[version]}", rows)


def parse(lines: Iterable[str]) -> Iterator[Usage | SummedUsage]:
    """The records of messages, one after the other: those of ours, and those of anybody's parser.

    Raises:
        FormatError: no such message, or a record lacks what APEL wants.
    """
    is_summary: bool | None = None
    fields: _Fields = {}
    for number, line in enumerate((each.strip() for each in lines), 1):
        if line.startswith("APEL-"):
            is_summary = _is_summary(line, number)
        elif line == END and fields:
            yield _read(fields, f"the record before line {number}", is_summary=bool(is_summary))
            fields = {}
        elif line and line != END:
            if is_summary is None:
                raise FormatError(f"line {number}: no header of a message comes before it")
            name, value = _field(line, number)
            fields[name] = value
    if fields:
        yield _read(fields, "the last record", is_summary=bool(is_summary))


def _messages(header: str, rows: Iterable[_Fields]) -> Iterator[str]:
    held: list[str] = []
    for row in rows:
        held.append("".join(f"{name}: {value}\n" for name, value in row.items()) + f"{END}\n")
        if len(held) == MOST_RECORDS:
            yield f"{header}\n" + "".join(held)
            held = []
    if held:
        yield f"{header}\n" + "".join(held)


# --- writing --------------------------------------------------------------------------------------


def _job(record: Record, version: Version, users: UserName) -> _Fields:
    user = users(record.text("User")) if record.text("User") else ""
    fields = {
        "Site": record.text("Site"),
        "SubmitHost": record.text("CE"),
        "MachineName": record.text("CE"),
        "Queue": record.text("Queue"),
        "LocalJobId": record.text("UID"),
        "LocalUserId": user,
        "GlobalUserName": user,
        "VO": record.text("VO"),
        "VOGroup": group_path(record),
        "WallDuration": _seconds(record, "WallClockTime"),
        "CpuDuration": _seconds(record, "CPUTime"),
        "Processors": record.integer("Processors"),
        "NodeCount": 1,
        "StartTime": int(epoch(record, "StartTime")),
        "EndTime": int(epoch(record, "EndTime")),
        "InfrastructureDescription": DESCRIPTION,
        "InfrastructureType": PAYLOAD_LEVEL,
        "MemoryReal": record.integer("PeakRSS") // 1024,
        **_service_level(*_benchmark(record), version),
    }
    return _known(fields)


@dataclass(frozen=True, order=True)
class _Key:
    site: str
    year: int
    month: int
    user: str
    vo: str
    vo_group: str
    submit_host: str
    benchmark: str
    benchmark_value: float
    processors: int


@dataclass
class _Sum:
    jobs: int = 0
    wall: int = 0
    cpu: int = 0
    earliest: int = 1 << 62
    latest: int = 0

    def add(self, record: Record) -> None:
        end = int(epoch(record, "EndTime"))
        self.jobs += 1
        self.wall += _seconds(record, "WallClockTime")
        self.cpu += _seconds(record, "CPUTime")
        self.earliest, self.latest = min(self.earliest, end), max(self.latest, end)


def _key(record: Record, users: UserName) -> _Key:
    end = datetime.fromtimestamp(int(epoch(record, "EndTime")), UTC)
    name, value = _benchmark(record)
    return _Key(
        site=record.text("Site"),
        year=end.year,
        month=end.month,
        user=users(record.text("User")) if record.text("User") else "",
        vo=record.text("VO"),
        vo_group=group_path(record),
        submit_host=record.text("CE"),
        benchmark=name,
        benchmark_value=value,
        processors=record.integer("Processors"),
    )


def _summed(key: _Key, total: _Sum, version: Version) -> _Fields:
    fields = {
        "Site": key.site,
        "Month": key.month,
        "Year": key.year,
        "GlobalUserName": key.user,
        "VO": key.vo,
        "VOGroup": key.vo_group,
        "SubmitHost": key.submit_host,
        "InfrastructureType": PAYLOAD_LEVEL,
        **_service_level(key.benchmark, key.benchmark_value, version),
        "NodeCount": 1,
        "Processors": key.processors,
        "EarliestEndTime": total.earliest,
        "LatestEndTime": total.latest,
        "WallDuration": total.wall,
        "CpuDuration": total.cpu,
        "NumberOfJobs": total.jobs,
    }
    return _known(fields)


def _benchmark(record: Record) -> tuple[str, float]:
    """A benchmark that APEL knows with its score; without one APEL counts unscaled."""
    name = BENCHMARKS.get(record.text("BenchmarkName").lower(), "")
    value = record.number("BenchmarkValue")
    return (name, value) if name and value > 0 else ("", 0.0)


def _service_level(name: str, value: float, version: Version) -> dict[str, str]:
    if not name:
        return {}
    if version == "v0.4":
        return {"ServiceLevel": f"{{{name}: {value:g}}}"}
    return {"ServiceLevelType": name, "ServiceLevel": f"{value:g}"}


def _seconds(record: Record, name: str) -> int:
    return round(record.number(name))


def _known(fields: Mapping[str, object]) -> _Fields:
    """As text on one line each, without those that say nothing."""
    texts = {name: _ENDS.sub("%", " ".join(_STEERING.sub(" ", str(value)).split())) for name, value in fields.items()}
    return {name: text for name, text in texts.items() if text.lower() not in _NOTHING}


# --- reading --------------------------------------------------------------------------------------


def _is_summary(header: str, number: int) -> bool:
    name, _, version = header.partition(":")
    known = {INDIVIDUAL: ("v0.1", "v0.2", "v0.3", "v0.4"), SUMMARY: ("v0.1", "v0.2", "v0.4")}
    if version.strip() not in known.get(name.strip(), ()):
        raise FormatError(f"line {number}: {header!r} is no message of individual jobs or their summaries")
    return name.strip() == SUMMARY


def _field(line: str, number: int) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon:
        raise FormatError(f"line {number} has no colon")
    return name.strip(), value.strip()


def _read(fields: _Fields, where: str, *, is_summary: bool) -> Usage | SummedUsage:
    try:
        return _read_summary(fields) if is_summary else _read_job(fields)
    except (KeyError, ValueError, OverflowError) as error:
        what = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
        raise FormatError(f"{where}: {what}") from error


def _read_job(fields: _Fields) -> Usage:
    vo, group = _vo(fields)
    benchmark, value = _read_level(fields)
    uid, wall, processors = (
        fields["LocalJobId"],
        float(fields["WallDuration"]),
        int(_given(fields, "Processors") or 1),
    )
    return Usage(
        uid=uid,
        site=fields["Site"],
        vo=vo,
        group=group,
        user=_given(fields, "GlobalUserName") or _given(fields, "LocalUserId"),
        computing_element=_given(fields, "SubmitHost"),
        queue=_given(fields, "Queue"),
        start=float(fields["StartTime"]),
        end=float(fields["EndTime"]),
        wall_seconds=wall,
        cpu_seconds=float(fields["CpuDuration"]),
        core_seconds=wall * processors,
        processors=processors,
        benchmark=benchmark,
        benchmark_value=value,
        level=_level(fields),
    )


def _read_summary(fields: _Fields) -> SummedUsage:
    vo, group = _vo(fields)
    benchmark, value = _read_level(fields)
    earliest, latest = _given(fields, "EarliestEndTime"), _given(fields, "LatestEndTime")
    processors = _given(fields, "Processors")
    return SummedUsage(
        year=int(fields["Year"]),
        month=int(fields["Month"]),
        site=fields["Site"],
        vo=vo,
        group=group,
        user=_given(fields, "GlobalUserName"),
        computing_element=_given(fields, "SubmitHost"),
        processors=int(processors) if processors else None,
        benchmark=benchmark,
        benchmark_value=value,
        jobs=int(fields["NumberOfJobs"]),
        wall_seconds=float(fields["WallDuration"]),
        cpu_seconds=float(fields["CpuDuration"]),
        earliest_end=float(earliest) if earliest else None,
        latest_end=float(latest) if latest else None,
        level=_level(fields),
    )


def _given(fields: _Fields, name: str) -> str:
    value = fields.get(name, "")
    return "" if value.lower() in _NOTHING else value


def _vo(fields: _Fields) -> tuple[str, str]:
    vo, group = group_parts(_given(fields, "FQAN") or _given(fields, "VOGroup"))
    return _given(fields, "VO") or vo, group


def _level(fields: _Fields) -> str:
    return PAYLOAD_LEVEL if fields.get("InfrastructureType") == PAYLOAD_LEVEL else ""


def _read_level(fields: _Fields) -> tuple[str, float | None]:
    """The most believed benchmark of those that the record tells."""
    text = _given(fields, "ServiceLevel")
    if not text:
        return "", None
    if not text.startswith("{"):
        return _given(fields, "ServiceLevelType").lower(), float(text)
    pairs = (each.split(":") for each in text.strip("{}").split(","))
    told = {name.strip().lower(): float(value) for name, value in pairs}
    name = next((each for each in BENCHMARKS if each in told), next(iter(told)))
    return name, told[name]
