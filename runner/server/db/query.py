"""Search specifications of the dialect as SQL; the same for jobs and pilots."""

import math
import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Connection,
    Float,
    Integer,
    Select,
    String,
    cast,
    false,
    func,
    or_,
    select,
    type_coerce,
)

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
_SMALLEST, _LARGEST = -(1 << 63), (1 << 63) - 1
#: A moment may be written as far as one likes: year, month, day, hour, minute, second, its fraction; and a zone.
_MOMENT = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:[ T](\d\d)(?::(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?)?(Z|[+-]\d\d:?\d\d)?)?)?)?",
    re.ASCII,
)
_LEAST = ("", "01", "01", "00", "00", "00")
#: After so long the next one has begun: of a year and a month during its first days, of all others at that moment.
_LENGTHS = (
    timedelta(days=366), timedelta(days=31), timedelta(days=1), timedelta(hours=1), timedelta(minutes=1),
    timedelta(seconds=1), timedelta(microseconds=1),
)  # fmt: skip
_DAY = 3
#: No column holds a moment that is later.
_FAR = datetime(9000, 1, 1, tzinfo=UTC)
#: SQLite takes no deeper expression than a thousand, and each is a term of one.
MOST_PERIODS = 250


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


def ordered(query: Select[Any], columns: Columns, sort: Sequence[SortSpec], *last: str) -> Select[Any]:
    """*query* in the order of *sort*, and by the columns *last* where that leaves a choice."""
    for spec in sort:
        chosen = column(columns, spec.parameter)
        # What is not known comes first, as the smallest value: the databases differ here.
        keys = (chosen.is_not(None), chosen) if getattr(chosen, "nullable", False) else (chosen,)
        query = query.order_by(*(key.asc() if spec.direction == "asc" else key.desc() for key in keys))
    return query.order_by(*(columns[name].asc() for name in last))


def distinct(query: Select[Any], sort: Sequence[SortSpec]) -> Select[Any]:
    """Each row of *query* once, in the order of *sort*, and by all its columns where that leaves a choice.

    Raises:
        InvalidRequestError: an order by what the rows do not have; it would not be one.
    """
    rows = query.distinct().subquery()
    columns = dict(rows.c.items())
    for spec in sort:
        if spec.parameter not in columns:
            known = ", ".join(columns)
            raise InvalidRequestError(f"distinct rows cannot be sorted by {spec.parameter}: they have {known}")
    return ordered(select(rows), columns, sort, *columns)


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
    if isinstance(chosen.type, Integer):
        if spec.parameter.endswith("Time"):
            return _time_condition(chosen, spec)
        chosen = type_coerce(chosen, BigInteger)  # a value that is too large for the column is a value all the same
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


def _time_condition(chosen: ColumnElement[Any], spec: SearchSpec) -> ColumnElement[bool]:
    """Moments are compared with periods, as DiracX does it: more is after the end, less before the beginning."""
    values = [spec.value] if isinstance(spec, ScalarSearchSpec) else spec.values
    if len(values) > MOST_PERIODS:
        raise InvalidRequestError(f"{spec.parameter} can be compared with {MOST_PERIODS} times at once, at most")
    if spec.operator in ("like", "not like", "regex"):
        known = "eq, neq, gt, lt, in and not in"
        raise InvalidRequestError(f"{spec.parameter} is a time, not a text: it can be compared by {known}")
    periods = [_period(spec.parameter, value) for value in values]
    if spec.operator in ("gt", "lt"):
        ((start, end),) = periods
        return chosen >= end if spec.operator == "gt" else chosen < start
    within = or_(false(), *((chosen >= start) & (chosen < end) for start, end in periods))
    return within if spec.operator in ("eq", "in") else ~within


def _period(name: str, value: str | int) -> tuple[int, int]:
    """Beginning and end of all that *value* names, as a column holds moments."""
    try:
        if (written := _MOMENT.fullmatch(str(value))) is None:
            raise ValueError("no time")
        *parts, zone = written.groups("")
        whole = "{}-{}-{}T{}:{}:{}".format(*(part or least for part, least in zip(parts, _LEAST, strict=False)))
        start = min(datetime.fromisoformat(f"{whole}.{parts[-1][:6]:0<6}{zone or 'Z'}").astimezone(UTC), _FAR)
    except (ValueError, OverflowError) as error:
        raise InvalidRequestError(f"{value!r} cannot be compared with {name}") from error
    count = sum(map(bool, parts))
    end = start + _LENGTHS[count - 1]
    if count < _DAY:
        end = end.replace(day=1, month=1 if count == 1 else end.month)
    start_ns, end_ns = (max(_SMALLEST, min(parse_utc(each.isoformat()), _LARGEST)) for each in (start, end))
    return start_ns, end_ns


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
    """*value* as the column holds it: numbers may be written as text."""
    if isinstance(chosen.type, Boolean):
        return str(value).lower() in ("1", "true")
    try:
        if isinstance(chosen.type, Integer) and _SMALLEST <= (whole := int(value)) <= _LARGEST:
            return whole
        if isinstance(chosen.type, Float) and math.isfinite(number := float(value)):
            return number
    except ValueError as error:
        raise InvalidRequestError(f"{value!r} cannot be compared with {name}") from error
    if isinstance(chosen.type, Integer | Float):
        raise InvalidRequestError(f"{value!r} is too large to be compared with {name}")
    return str(value)
