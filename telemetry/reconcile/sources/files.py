"""Tables in files: Parquet and CSV, with the names of the accounting record, our columns, or those of a mapping."""

from collections.abc import Mapping
from pathlib import Path

import duckdb

from telemetry.reconcile import kept
from telemetry.reconcile.columns import (
    COLUMNS,
    FIELDS,
    RECORD_FIELDS,
    converted,
    literal,
    name,
    of_record,
    select_list,
    unread,
)
from telemetry.reconcile.sources.wanted import SourceError, Wanted
from telemetry.reconcile.workbench import Workbench

#: Options that are no columns.
OPTIONS = ("grace", "zone", "level", "delimiter")


def paths(where: str) -> list[Path]:
    """The files that *where* names: one, all of a folder, or by a pattern.

    Raises:
        SourceError: there are none.
    """
    path = Path(where).expanduser()
    if path.is_file():
        return [path]
    found = sorted(path.iterdir()) if path.is_dir() else sorted(path.parent.glob(path.name))
    if not found:
        raise SourceError(f"{where}: there is no such file")
    return [each for each in found if each.is_file()]


def parquet(bench: Workbench, wanted: Wanted) -> tuple[str, list[str]]:
    """A relation of our columns; the files are read whenever it is. And sentences about values that cannot be read."""
    relation, told = _relation(bench, wanted, f"read_parquet([{_list(wanted)}], union_by_name = true)")
    return relation, _unread(bench, wanted, relation, told, identity(bench, wanted))


def identity(bench: Workbench, wanted: Wanted) -> str:
    """What the relation of the Parquet files of *wanted* follows from, as `kept` wants it."""
    view = literal(_view(wanted))
    how = bench.value(f"SELECT sql FROM duckdb_views() WHERE view_name = {view}")
    return kept.identity(paths(wanted.where), str(how))


def csv(bench: Workbench, wanted: Wanted) -> tuple[str, list[str]]:
    """The same of CSV, which is kept as Parquet: it is read more than once."""
    delimiter = wanted.options.get("delimiter", "")
    chosen = f", delim = {literal(delimiter)}" if delimiter else ""
    # All as text: what looks like a number in the first lines need not be one.
    source = f"read_csv([{_list(wanted)}], header = true, all_varchar = true, union_by_name = true{chosen})"
    relation, told = _relation(bench, wanted, source)
    file = bench.engine.folder / f"{wanted.name}.parquet"
    try:
        bench.run(f"COPY (FROM {relation}) TO {literal(str(file))} (FORMAT parquet)")
    except duckdb.Error as error:
        raise SourceError(f"{wanted.name}: {_first_line(error)}") from error
    kept_as = f"read_parquet({literal(str(file))})"
    return kept_as, _unread(bench, wanted, kept_as, told)


def _list(wanted: Wanted) -> str:
    return ", ".join(literal(str(path)) for path in paths(wanted.where))


def _relation(bench: Workbench, wanted: Wanted, source: str) -> tuple[str, Mapping[str, str]]:
    """A view of our columns, beside some of them whether what is told cannot be read; these, and what tells them."""
    try:
        held = bench.columns(source)
    except duckdb.Error as error:
        raise SourceError(f"{wanted.name}: {_first_line(error)}") from error
    made, fields = _made(wanted, held)
    flags = unread(made, fields, held)
    chosen = ", ".join((select_list(made), *(f"({condition}) AS {_flag(each)}" for each, condition in flags.items())))
    view = _view(wanted)
    bench.run(f"CREATE OR REPLACE VIEW {view} AS SELECT {chosen} FROM {source}")
    return view, {each: fields[each] for each in flags}


def _unread(
    bench: Workbench, wanted: Wanted, relation: str, told: Mapping[str, str], identified: str = ""
) -> list[str]:
    """What is not read is not compared, so it must be said."""
    if not told:
        return []
    counts, table = ", ".join(f"count_if({_flag(each)}) AS {each}" for each in told), f"unread_{wanted.name}"
    kept.table(bench, table, f"SELECT {counts} FROM {{}}", relation, identified)
    ours = {column: f" ({field})" for field, column in FIELDS.items()}
    return [
        f"{wanted.name}: {count} values of {field}{ours.get(column, '')} cannot be read"
        for (column, field), count in zip(told.items(), bench.one(f"FROM {table}"), strict=True)
        if count
    ]


def _view(wanted: Wanted) -> str:
    return f"read_{wanted.name}"


def _flag(column: str) -> str:
    return f"unread_{column}"


def _made(wanted: Wanted, held: Mapping[str, str]) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """For each of our columns its expression, and the field of the table that it is made of."""
    mapping = {ours: theirs for ours, theirs in wanted.options.items() if ours not in OPTIONS}
    wrong = [ours for ours in mapping if ours not in FIELDS]
    absent = [theirs for theirs in mapping.values() if theirs not in held]
    if wrong:
        raise SourceError(f"{wanted.name}: {wrong[0]} is no field; known are {', '.join(FIELDS)}")
    if absent:
        raise SourceError(f"{wanted.name}: there is no column {absent[0]}; there are {', '.join(held)}")
    if mapping:
        fields, zone = {FIELDS[ours]: theirs for ours, theirs in mapping.items()}, wanted.options.get("zone", "")
        return {each: converted(each, field, held, zone) for each, field in fields.items()}, fields
    if "UID" in held:
        return of_record(held), RECORD_FIELDS
    if {"key", "wall_us", "end_us"} <= set(held):
        fields = {each: each for each in COLUMNS if each in held}
        return {each: name(each) for each in fields}, fields
    raise SourceError(
        f"{wanted.name}: the columns are neither ours nor told; name them, such as uid=COLUMN,wall=COLUMN,cpu=COLUMN,"
        f"cores=COLUMN,end=COLUMN (there are {', '.join(held)})"
    )


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
