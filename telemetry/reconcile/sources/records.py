"""Records that Python holds, one by one: written to a file as they come, so that memory does not grow with them."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from telemetry.identity import is_attempt_uid
from telemetry.ledger.formats.usage import SummedUsage, Usage
from telemetry.ledger.record import InvalidRecord, Record
from telemetry.reconcile.columns import BODY, COLUMNS, RECORD_FIELDS, from_record, literal, select_list
from telemetry.reconcile.workbench import Workbench

Values = Mapping[str, Any]

#: Fields of the accounting record that are read, and their types there.
RECORD_TYPES: Mapping[str, str] = {
    **dict.fromkeys(RECORD_FIELDS.values(), "VARCHAR"),
    **dict.fromkeys(("JobID", "Attempt", "Revision", "Processors"), "BIGINT"),
    **dict.fromkeys(("WallClockTime", "CPUTime", "WrapperCPUTime", "BenchmarkValue"), "DOUBLE"),
    **dict.fromkeys(("VO", "UserGroup", "RecordedBy"), "VARCHAR"),
}
#: A sum of many attempts: what they have in common (NULL: not told apart), and what they have used.
SUM_TYPES: Mapping[str, str] = {
    "site": "VARCHAR",
    "grp": "VARCHAR",
    "cores": "INTEGER",
    "month": "VARCHAR",
    "jobs": "BIGINT",
    "cpu_us": "BIGINT",
    "core_us": "BIGINT",
}
#: What a witness has said of an attempt.
WITNESS_TYPES: Mapping[str, str] = {"key": "VARCHAR", "said": "VARCHAR"}


def accounting(bench: Workbench, name: str, bodies: Iterable[Values]) -> str:
    """A relation of our columns of accounting records (with an `ArrivalTime`, where that is known)."""
    rows = ({field: body[field] for field in RECORD_TYPES if body.get(field) is not None} for body in bodies)
    return kept(bench, name, rows, RECORD_TYPES, from_record(RECORD_TYPES))


def whole(bench: Workbench, name: str, bodies: Iterable[Values]) -> tuple[str, list[str]]:
    """The same with the whole of each record beside its columns; and sentences about what is no record."""
    problems: list[str] = []

    def rows() -> Iterator[Values]:
        for body in bodies:
            try:
                record = Record(body)
            except InvalidRecord as error:
                problems.append(f"{name}: record {body.get('UID', 'without UID')}: {error}")
                continue
            chosen = {field: record[field] for field in RECORD_TYPES if record.get(field) is not None}
            yield {**chosen, BODY: record.canonical()}

    types = {**RECORD_TYPES, BODY: "VARCHAR"}
    return kept(bench, name, rows(), types, from_record(types)), problems


def testimonies(bench: Workbench, name: str, said: Iterable[Values]) -> str:
    """A relation of what a witness has *said*, an object with the UID for each attempt."""
    rows = ({"key": each["UID"], "said": json.dumps(dict(each))} for each in said)
    return kept(bench, name, rows, WITNESS_TYPES, ", ".join(WITNESS_TYPES))


def columns(bench: Workbench, name: str, rows: Iterable[Values]) -> str:
    """A relation of rows that have our columns already; those that are absent are NULL."""
    return kept(bench, name, rows, COLUMNS, select_list({each: each for each in COLUMNS}))


def sums(bench: Workbench, name: str, rows: Iterable[Values]) -> str:
    """A relation of sums."""
    return kept(bench, name, rows, SUM_TYPES, ", ".join(SUM_TYPES))


def kept(bench: Workbench, name: str, rows: Iterable[Values], types: Mapping[str, str], chosen: str) -> str:
    """*rows* of *types* as a Parquet file of the columns *chosen*."""
    flat, parquet = bench.engine.folder / f"{name}.jsonl", bench.engine.folder / f"{name}.parquet"
    with flat.open("w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    held = ", ".join(f"{literal(field)}: {literal(kind)}" for field, kind in types.items())
    bench.run(
        f"COPY (SELECT {chosen} FROM read_json({literal(str(flat))}, format = 'newline_delimited',"
        f" columns = {{{held}}})) TO {literal(str(parquet))} (FORMAT parquet)"
    )
    flat.unlink()
    return f"read_parquet({literal(str(parquet))})"


def of_usage(usages: Iterable[Usage]) -> Iterator[Values]:
    """Our columns of what formats of others tell of a job. A record of ours comes back under its UID."""
    for each in usages:
        is_ours = is_attempt_uid(each.uid)
        yield {
            "key": each.uid if is_ours else None,
            "batch": None if is_ours else each.uid or None,
            "site": each.site or None,
            "grp": "/".join(part for part in (each.vo, each.group) if part) or None,
            "cores": each.processors,
            "wall_us": _us(each.wall_seconds),
            "cpu_us": _us(each.cpu_seconds),
            "start_us": _us(each.start),
            "end_us": _us(each.end),
            "benchmark": each.benchmark_value,
            "benchmark_name": each.benchmark or None,
        }


def of_summed(usages: Iterable[SummedUsage]) -> Iterator[Values]:
    """Sums of what formats of others tell of a month."""
    for each in usages:
        yield {
            "site": each.site or None,
            "grp": "/".join(part for part in (each.vo, each.group) if part) or None,
            "cores": each.processors,
            "month": f"{each.year:04}-{each.month:02}",
            "jobs": each.jobs,
            "cpu_us": _us(each.cpu_seconds),
            "core_us": _us(each.wall_seconds * (each.processors or 1)),
        }


def _us(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1_000_000)
