"""The columns in which every source is read, and how the accounting record gives them. Pure: makes SQL, runs none.

Times and durations are whole microseconds, so that they add up exactly. What a source does not say is NULL, and what is
NULL on one side is not compared.
"""

from collections.abc import Mapping

COLUMNS: Mapping[str, str] = {
    "key": "VARCHAR",  # UID of the attempt
    "rank": "BIGINT",  # of several records of one attempt the one with the highest counts
    "job_id": "BIGINT",
    "attempt": "INTEGER",
    "site": "VARCHAR",
    "grp": "VARCHAR",  # VO and group
    "host": "VARCHAR",
    "pilot": "VARCHAR",
    "batch": "VARCHAR",  # the pilot's job in the batch system
    "cores": "INTEGER",
    "wall_us": "BIGINT",
    "cpu_us": "BIGINT",
    "own_cpu_us": "BIGINT",  # CPU of the wrapper, beside cpu_us
    "start_us": "BIGINT",
    "end_us": "BIGINT",
    "benchmark": "DOUBLE",
    "benchmark_name": "VARCHAR",
    "arrived_us": "BIGINT",
    "body": "VARCHAR",  # the whole record in its canonical form, where the source gives it
}

#: Fields as people name them in a mapping (`wall=Elapsed`), and the column that each fills.
FIELDS: Mapping[str, str] = {
    "uid": "key",
    "job": "job_id",
    "attempt": "attempt",
    "site": "site",
    "group": "grp",
    "host": "host",
    "pilot": "pilot",
    "batch": "batch",
    "cores": "cores",
    "wall": "wall_us",
    "cpu": "cpu_us",
    "start": "start_us",
    "end": "end_us",
    "benchmark": "benchmark",
    "benchmark_name": "benchmark_name",
    "arrived": "arrived_us",
}

#: The accounting record's fields that fill a column as they are.
RECORD_FIELDS: Mapping[str, str] = {
    "key": "UID",
    "job_id": "JobID",
    "attempt": "Attempt",
    "site": "Site",
    "host": "HostName",
    "pilot": "PilotStamp",
    "batch": "BatchJobID",
    "cores": "Processors",
    "wall_us": "WallClockTime",
    "cpu_us": "CPUTime",
    "own_cpu_us": "WrapperCPUTime",
    "start_us": "StartTime",
    "end_us": "EndTime",
    "benchmark": "BenchmarkValue",
    "benchmark_name": "BenchmarkName",
    "arrived_us": "ArrivalTime",
}
#: The column of a table of records that has the whole of each.
BODY = "WholeRecord"
_RANK = """(CASE "RecordedBy" WHEN 'wrapper' THEN 2 WHEN 'agent' THEN 1 ELSE 0 END) * 1000000000"""


def name(text: str) -> str:
    """*text* as an SQL name."""
    return '"' + text.replace('"', '""') + '"'


def literal(text: str) -> str:
    """*text* as an SQL text."""
    return "'" + text.replace("'", "''") + "'"


def from_record(held: Mapping[str, str]) -> str:
    """A select list that makes our columns of a table of accounting records, whose columns and types are *held*."""
    return select_list(of_record(held))


def of_record(held: Mapping[str, str]) -> dict[str, str]:
    """The expressions of that list."""
    made = {column: converted(column, field, held) for column, field in RECORD_FIELDS.items()}
    for column in ("start_us", "end_us", "arrived_us"):
        if held.get(RECORD_FIELDS[column]) == "VARCHAR":  # a record's times have a zone, or are UTC
            made[column] = f"epoch_us(TRY_CAST({name(RECORD_FIELDS[column])} AS TIMESTAMPTZ))"
    made["rank"] = _rank(held)
    groups = [f"nullif({name(each)}, '')" for each in ("VO", "UserGroup") if each in held]
    made["grp"] = f"concat_ws('/', {', '.join(groups)})" if groups else "NULL"
    if BODY in held:
        made["body"] = name(BODY)
    return made


def select_list(made: Mapping[str, str]) -> str:
    """All columns in their order, NULL where *made* has no expression."""
    return ", ".join(f"{_cast(each, made.get(each, 'NULL'))} AS {each}" for each in COLUMNS)


def unread(made: Mapping[str, str], fields: Mapping[str, str], held: Mapping[str, str]) -> dict[str, str]:
    """For each column of *made* that its table's field (by *fields*) tells as a text, and that is none itself: the
    condition that something is told which cannot be read."""
    return {
        column: f"coalesce(trim({name(fields[column])}), '') <> '' AND {_cast(column, expression)} IS NULL"
        for column, expression in made.items()
        if held.get(fields.get(column, "")) == "VARCHAR" and COLUMNS[column] != "VARCHAR"
    }


def _cast(column: str, expression: str) -> str:
    return f"TRY_CAST({expression} AS {COLUMNS[column]})"


def converted(column: str, field: str, held: Mapping[str, str], zone: str = "") -> str:
    """The expression for our *column* by the table's *field*; numbers are seconds, texts may be times or durations."""
    if field not in held:
        return "NULL"
    source, kind = name(field), held[field]
    if column in ("start_us", "end_us", "arrived_us"):
        return _moment(source, kind, zone)
    if column in ("wall_us", "cpu_us", "own_cpu_us"):
        return _duration(source, kind)
    return f"nullif({source}, '')" if kind == "VARCHAR" else source


def _moment(source: str, kind: str, zone: str) -> str:
    if kind.startswith("TIMESTAMP WITH"):
        return f"epoch_us({source})"
    local = f"timezone({literal(zone)}, {{0}})" if zone else "{0}"
    if kind.startswith(("TIMESTAMP", "DATE")):
        return f"epoch_us({local.format(source)})"
    if kind == "VARCHAR":
        bare = local.format(f"TRY_CAST({source} AS TIMESTAMP)")
        zoned = rf"regexp_matches({source}, '(Z|[+-]\d\d(:?\d\d)?)$')"
        number = f"round(TRY_CAST({source} AS DOUBLE) * 1000000)"
        moment = f"CASE WHEN {zoned} THEN epoch_us(TRY_CAST({source} AS TIMESTAMPTZ)) ELSE epoch_us({bare}) END"
        return f"coalesce({number}, {moment})"
    return f"round({source} * 1000000)"


def _duration(source: str, kind: str) -> str:
    if kind != "VARCHAR":
        return f"round({source} * 1000000)"
    # As batch systems print them: [days-][hours:]minutes:seconds
    days = f"CASE WHEN contains({source}, '-') THEN TRY_CAST(split_part({source}, '-', 1) AS DOUBLE) ELSE 0 END"
    parts = f"list_reverse(string_split(split_part({source}, '-', -1), ':'))"
    part = f"coalesce(TRY_CAST({parts}[{{0}}] AS DOUBLE), 0)"
    sum_of = f"{part.format(1)} + 60 * {part.format(2)} + 3600 * {part.format(3)}"
    is_clock = rf"regexp_full_match({source}, '\s*(\d+-)?(\d+:)?\d+:\d+(\.\d*)?\s*')"
    clock = f"CASE WHEN {is_clock} THEN 86400 * ({days}) + {sum_of} END"
    return f"round(coalesce(TRY_CAST({source} AS DOUBLE), {clock}) * 1000000)"


def _rank(held: Mapping[str, str]) -> str:
    if "RecordedBy" not in held:
        return "0"
    return f"{_RANK} + coalesce(TRY_CAST({name('Revision')} AS BIGINT), 0)" if "Revision" in held else _RANK
