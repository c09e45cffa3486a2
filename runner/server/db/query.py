"""Search specifications of the dialect as SQL; the same for jobs and pilots."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from sqlalchemy import BigInteger, Boolean, ColumnElement, Connection, Integer, Select, func, select

from runner.server.db.job_db import Row
from runner.server.errors import InvalidRequestError, InvalidValueError
from runner.server.models import ScalarSearchSpec, SearchSpec, SortSpec
from telemetry.clock import parse_utc

Columns: TypeAlias = Mapping[str, ColumnElement[Any]]

MAX_REGEX = 128
#: Python's matcher backtracks without bound on a repeated group or many repetitions; nobody needs those here.
_REPEATED_GROUP = re.compile(r"\)\s*[*+{?]")
_REPETITION = re.compile(r"[*+{]")
MAX_REPETITIONS = 3
_INTEGERS = (Integer, BigInteger)


def search(connection: Connection, query: Select[Any], first: int, count: int) -> tuple[int, list[Row]]:
    """How many rows *query* has in all, and *count* of them from *first* on."""
    total = connection.scalar(select(func.count()).select_from(query.order_by(None).subquery()))
    rows = connection.execute(query.offset(first).limit(count)).mappings()
    return int(total or 0), list(rows)


def filtered(query: Select[Any], columns: Columns, specs: Iterable[SearchSpec]) -> Select[Any]:
    """*query* with all of *specs* as conditions.

    Raises:
        InvalidRequestError: an unknown column, or a value that does not fit it.
    """
    for spec in specs:
        query = query.where(_condition(column(columns, spec.parameter), spec))
    return query


def ordered(query: Select[Any], columns: Columns, sort: Sequence[SortSpec], last: str) -> Select[Any]:
    """*query* in the order of *sort*, and by the column *last* where that leaves a choice."""
    for spec in sort:
        chosen = column(columns, spec.parameter)
        query = query.order_by(chosen.asc() if spec.direction == "asc" else chosen.desc())
    return query.order_by(columns[last].asc())


def column(columns: Columns, name: str) -> ColumnElement[Any]:
    """The column *name*.

    Raises:
        InvalidRequestError: there is none.
    """
    try:
        return columns[name]
    except KeyError:
        raise InvalidRequestError(f"Unknown column {name}") from None


def _condition(chosen: ColumnElement[Any], spec: SearchSpec) -> ColumnElement[bool]:
    if not isinstance(spec, ScalarSearchSpec):
        values = [_value(chosen, spec.parameter, value) for value in spec.values]
        return chosen.in_(values) if spec.operator == "in" else chosen.not_in(values)
    if spec.operator in ("like", "not like"):
        pattern = str(spec.value)
        return chosen.like(pattern) if spec.operator == "like" else chosen.not_like(pattern)
    if spec.operator == "regex":
        return chosen.regexp_match(_regex(str(spec.value)))
    value = _value(chosen, spec.parameter, spec.value)
    comparison: dict[str, ColumnElement[bool]] = {
        "eq": chosen == value,
        "neq": chosen != value,
        "gt": chosen > value,
        "lt": chosen < value,
    }
    return comparison[spec.operator]


def _regex(pattern: str) -> str:
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise InvalidValueError(f"not a regular expression: {error}") from error
    if (
        len(pattern) > MAX_REGEX
        or _REPEATED_GROUP.search(pattern)
        or len(_REPETITION.findall(pattern)) > MAX_REPETITIONS
    ):
        raise InvalidValueError(
            f"a regular expression may have {MAX_REGEX} characters, {MAX_REPETITIONS} repetitions and no repeated group"
        )
    return pattern


def _value(chosen: ColumnElement[Any], name: str, value: str | int) -> Any:
    """*value* as the column holds it: moments are written as text, and whole numbers may be."""
    if isinstance(chosen.type, Boolean):
        return str(value).lower() in ("1", "true")
    if not isinstance(chosen.type, _INTEGERS):
        return str(value)
    try:
        if name.endswith("Time"):
            text = str(value)
            return parse_utc(text if re.search(r"[zZ]$|[+-]\d\d:?\d\d$", text) else f"{text}+00:00")
        return int(value)
    except (ValueError, OverflowError) as error:
        raise InvalidRequestError(f"{value!r} cannot be compared with {name}") from error
