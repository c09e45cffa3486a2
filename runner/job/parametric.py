"""Parametric jobs: one description that stands for many, as in DIRAC. Pure.

`Parameters` is a list of values, or how many there are, and then they are numbers: ParameterStart,
and each further one is the one before times ParameterFactor plus ParameterStep. `Parameters.A` is a
second row of them, named A; all rows have the same length. In every text of the description ``%s``
becomes the value, ``%(A)s`` that of row A and ``%n`` the number of the job, from 0 on.
"""

import re
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from runner.errors import DescriptionError
from runner.job.description import JobDescription, from_mapping
from runner.job.fields import PARAMETRIC

ROW = "Parameters"
_COUNT = re.compile(r"[0-9]{1,9}")


def is_parametric(description: JobDescription) -> bool:
    """Whether it stands for many jobs."""
    return any(_row(name)[0] == ROW for name in description.extra)


def expand(description: JobDescription, most: int, *, source: str = "") -> list[JobDescription]:
    """The jobs that a parametric *description* stands for; of any other, itself.

    Raises:
        DescriptionError: more than *most*, none, or rows of different lengths.
    """
    if not is_parametric(description):
        return [description]
    rows = _rows(description, most, source)
    rest = {name: value for name, value in description.extra.items() if _row(name)[0] not in PARAMETRIC}
    count = len(next(iter(rows.values())))
    return [_one(description, rest, rows, number, source) for number in range(count)]


def _rows(description: JobDescription, most: int, source: str) -> dict[str, list[str]]:
    """The values of each row, by its name; that of the first is empty."""
    given: dict[str, dict[str, Any]] = {}
    for name, value in description.extra.items():
        kind, row = _row(name)
        if kind in PARAMETRIC:
            given.setdefault(row, {})[kind] = value
    rows = {}
    for row, parts in given.items():
        field = f"{ROW}.{row}" if row else ROW
        if ROW not in parts:
            raise DescriptionError("is missing, though how to count is said", source=source, field=field)
        rows[row] = _values(parts, most, source, field)
    lengths = {len(values) for values in rows.values()}
    if len(lengths) > 1:
        raise DescriptionError(f"rows have different lengths: {sorted(lengths)}", source=source, field=ROW)
    return rows


def _values(parts: Mapping[str, Any], most: int, source: str, field: str) -> list[str]:
    listed = parts[ROW]
    if isinstance(listed, tuple) and all(isinstance(each, str) for each in listed):
        values, count = list(listed), len(listed)
    else:
        values, count = [], int(listed) if isinstance(listed, str) and _COUNT.fullmatch(listed) else 0
    if not 0 < count <= most:
        raise DescriptionError(f"must be a list, or a number, of 1 to {most} values", source=source, field=field)
    if values:
        return values
    value, factor, step = (
        _number(parts.get(kind, default), source, kind)
        for kind, default in (("ParameterStart", "1"), ("ParameterFactor", "1"), ("ParameterStep", "0"))
    )
    for _ in range(count):
        values.append(str(value))
        value = value * factor + step
        if abs(value) > 1e100:
            raise DescriptionError("the values grow beyond all bounds", source=source, field="ParameterFactor")
    return values


def _number(text: object, source: str, field: str) -> int | float:
    try:
        number = float(str(text))
        if not abs(number) < 1e100:
            raise ValueError
        return int(number) if number.is_integer() and "." not in str(text) else number
    except ValueError:
        raise DescriptionError(f"must be a number, not {str(text)[:40]!r}", source=source, field=field) from None


def _one(
    description: JobDescription, rest: Mapping[str, Any], rows: Mapping[str, list[str]], number: int, source: str
) -> JobDescription:
    count = len(next(iter(rows.values())))
    words = {"%n": str(number).zfill(len(str(count)))}
    words |= {f"%({row})s" if row else "%s": values[number] for row, values in rows.items()}
    named = {f"Parameter.{row}" if row else "Parameter": values[number] for row, values in rows.items()}
    texts = {
        each.name: _replaced(getattr(description, each.name), words)
        for each in fields(description)
        if each.name != "extra"
    }
    extra = {**_replaced(rest, words), **named, "ParameterNumber": str(number)}
    return from_mapping(replace(description, **texts, extra=extra).to_mapping(), source=source)


def _replaced(value: Any, words: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        for old, new in words.items():
            value = value.replace(old, new)
        return value
    if isinstance(value, tuple):
        return tuple(_replaced(each, words) for each in value)
    if isinstance(value, Mapping):
        return {name: _replaced(each, words) for name, each in value.items()}
    return value


def _row(name: str) -> tuple[str, str]:
    kind, _, row = name.partition(".")
    return kind, row
