"""Tables in files: Parquet and CSV, with the names of the accounting record, our columns, or those of a mapping."""

from collections.abc import Mapping
from pathlib import Path

import duckdb

from telemetry.reconcile import kept
from telemetry.reconcile.columns import COLUMNS, FIELDS, from_mapping, from_record, literal, name, select_list
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


def parquet(bench: Workbench, wanted: Wanted) -> str:
    """A relation of our columns; the files are read whenever it is."""
    return _relation(bench, wanted, f"read_parquet([{_list(wanted)}], union_by_name = true)")


def identity(bench: Workbench, wanted: Wanted) -> str:
    """What the relation of the Parquet files of *wanted* follows from, as `kept` wants it."""
    view = literal(_view(wanted))
    how = bench.value(f"SELECT sql FROM duckdb_views() WHERE view_name = {view}")
    return kept.identity(paths(wanted.where), str(how))


def csv(bench: Workbench, wanted: Wanted) -> str:
    """The same of CSV, which is kept as Parquet: it is read more than once."""
    delimiter = wanted.options.get("delimiter", "")
    chosen = f", delim = {literal(delimiter)}" if delimiter else ""
    # All as text: what looks like a number in the first lines need not be one.
    source = f"read_csv([{_list(wanted)}], header = true, all_varchar = true, union_by_name = true{chosen})"
    relation = _relation(bench, wanted, source)
    file = bench.engine.folder / f"{wanted.name}.parquet"
    try:
        bench.run(f"COPY (FROM {relation}) TO {literal(str(file))} (FORMAT parquet)")
    except duckdb.Error as error:
        raise SourceError(f"{wanted.name}: {_first_line(error)}") from error
    return f"read_parquet({literal(str(file))})"


def _list(wanted: Wanted) -> str:
    return ", ".join(literal(str(path)) for path in paths(wanted.where))


def _relation(bench: Workbench, wanted: Wanted, source: str) -> str:
    try:
        held = bench.columns(source)
    except duckdb.Error as error:
        raise SourceError(f"{wanted.name}: {_first_line(error)}") from error
    view = _view(wanted)
    bench.run(f"CREATE OR REPLACE VIEW {view} AS SELECT {_select(wanted, held)} FROM {source}")
    return view


def _view(wanted: Wanted) -> str:
    return f"read_{wanted.name}"


def _select(wanted: Wanted, held: Mapping[str, str]) -> str:
    mapping = {ours: theirs for ours, theirs in wanted.options.items() if ours not in OPTIONS}
    wrong = [ours for ours in mapping if ours not in FIELDS]
    absent = [theirs for theirs in mapping.values() if theirs not in held]
    if wrong:
        raise SourceError(f"{wanted.name}: {wrong[0]} is no field; known are {', '.join(FIELDS)}")
    if absent:
        raise SourceError(f"{wanted.name}: there is no column {absent[0]}; there are {', '.join(held)}")
    if mapping:
        return from_mapping(mapping, held, wanted.options.get("zone", ""))
    if "UID" in held:
        return from_record(held)
    if {"key", "wall_us", "end_us"} <= set(held):
        return select_list({each: name(each) for each in COLUMNS if each in held})
    raise SourceError(
        f"{wanted.name}: the columns are neither ours nor told; name them, such as uid=COLUMN,wall=COLUMN,cpu=COLUMN,"
        f"cores=COLUMN,end=COLUMN (there are {', '.join(held)})"
    )


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
