"""Search specifications of the dialect as SQL; the same for jobs and pilots."""

import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias

from sqlalchemy import BigInteger, Boolean, ColumnElement, Connection, Integer, Select, String, cast, func, select

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
_COMPARE = {"eq": operator.eq, "neq": operator.ne, "gt": operator.gt, "lt": operator.lt}
_LARGEST = (1 << 63) - 1
_INTEGERS = (Integer, BigInteger)


def search(connection: Connection, query: Select[Any], first: int, count: int) -> tuple[int, list[Row]]:
    """How many rows *query* has in all, and *count* of them from *first* on."""
    rows = list(connection.execute(query.offset(first).limit(count)).mappings())
    if len(rows) < count and (rows or not first):
        return first + len(rows), rows  # that was the last of them
    total = connection.scalar(select(func.count()).select_from(query.order_by(None).subquery()))
    return int(total or 0), rows


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
        # What is not known comes first, as the smallest value: the databases differ here.
        keys = (chosen.is_not(None), chosen) if getattr(chosen, "nullable", False) else (chosen,)
        query = query.order_by(*(key.asc() if spec.direction == "asc" else key.desc() for key in keys))
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
    if spec.operator in ("like", "not like", "regex"):
        text = cast(chosen, String)
        if spec.operator == "regex":
            return text.regexp_match(_regex(str(spec.value)))
        # Letters of either case are the same, as in DiracX; a backslash makes % and _ ordinary.
        like = text.ilike(str(spec.value), escape="\\")
        return like if spec.operator == "like" else ~like
    if spec.operator in ("gt", "lt") and isinstance(chosen.type, Boolean):
        raise InvalidRequestError(f"{spec.parameter} is true or false, and cannot be more or less than anything")
    compared: ColumnElement[bool] = _COMPARE[spec.operator](chosen, _value(chosen, spec.parameter, spec.value))
    return compared


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
        if not name.endswith("Time"):
            return int(value)
        moment = datetime.fromisoformat(str(value))
        return min(parse_utc((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()), _LARGEST)
    except (ValueError, OverflowError) as error:
        raise InvalidRequestError(f"{value!r} cannot be compared with {name}") from error
