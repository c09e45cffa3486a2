"""What an option is: its name in the file, its default, its meaning, and what it takes. Pure."""

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import MISSING, Field, field, fields
from enum import StrEnum
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from runner.errors import ConfigError

T = TypeVar("T")
LONGEST_EXPRESSION = 1024
_types: dict[type[Any], Mapping[str, Any]] = {}


class Check(StrEnum):
    """What follows from a limit that is reached: nothing, a warning that says so, the end of the job."""

    OFF = "off"
    WARN = "warn"
    KILL = "kill"


def option(name: str, default: Any, help: str, *, minimum: float | None = None, choices: tuple[str, ...] = ()) -> Any:
    """Declare an option: its *name* in the file, its *default* and what it means, with the unit."""
    metadata = {"name": name, "help": help, "minimum": minimum, "choices": choices}
    return field(default=default, metadata=metadata)


def check(name: str, default: Check, help: str, *, true: Check = Check.KILL) -> Any:
    """Declare a check of the watchdog. DIRAC's flags are True or False: False is off, and True is *true*."""
    metadata = {"name": name, "help": help, "minimum": None, "choices": (), "true": true}
    return field(default=default, metadata=metadata)


def read_table(kind: type[T], given: Mapping[str, Any], where: str) -> T:
    """The values of a table of the file.

    Raises:
        ConfigError: an unknown option or an impossible value.
    """
    options = {each.metadata["name"]: each for each in options_of(kind)}
    hints = types_of(kind)
    values = {}
    for name, value in given.items():
        if name not in options:
            raise ConfigError(f"{where} has no option {name}{suggest(name, options)}")
        each = options[name]
        values[each.name] = _value(value, hints[each.name], each, f"{where} {name}")
    return kind(**values)


def types_of(kind: type[Any]) -> Mapping[str, Any]:
    """The types of the fields of *kind*; to find them takes longer than all the rest of reading a table."""
    if kind not in _types:
        _types[kind] = get_type_hints(kind)
    return _types[kind]


def options_of(kind: type[Any]) -> list[Field[Any]]:
    """The fields of *kind* that are options."""
    return [each for each in fields(kind) if "name" in each.metadata and each.default is not MISSING]


def suggest(name: str, known: Mapping[str, Any]) -> str:
    """What *name* may have been meant to be."""
    near = difflib.get_close_matches(name, known, 1, 0.5)
    return f"; did you mean {near[0]}?" if near else f"; known are {', '.join(sorted(known))}"


def expression_problem(text: str) -> str:
    """Why *text* is no regular expression that we take; empty when it is one."""
    if len(text) > LONGEST_EXPRESSION:
        return f"has {len(text)} characters, at most {LONGEST_EXPRESSION} are allowed"
    try:
        re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        return f"is no regular expression: {error}"
    return ""


def _value(value: Any, hint: Any, each: Field[Any], where: str) -> Any:
    if get_origin(hint) is tuple:
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, list | tuple) or not all(isinstance(item, get_args(hint)[0]) for item in items):
            raise ConfigError(f"{where} must be a list of strings")
        return tuple(items)
    if hint is Check:
        return _check(value, each.metadata["true"], where)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise ConfigError(f"{where} must be {hint.__name__}, not {value!r}")
    _bounded(value, each, where)
    return value


def _bounded(value: Any, each: Field[Any], where: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{where} must be a finite number, not {value!r}")
    minimum, choices = each.metadata["minimum"], each.metadata["choices"]
    if minimum is not None and value < minimum:
        raise ConfigError(f"{where} must be at least {minimum:g}, not {value!r}")
    if choices and value not in choices:
        raise ConfigError(f"{where} must be one of {', '.join(choices)}, not {value!r}")


def _check(value: Any, true: Check, where: str) -> Check:
    if isinstance(value, int) and value in (0, 1):  # True and False are ints as well
        return true if value else Check.OFF
    try:
        return Check(value)
    except ValueError as error:
        raise ConfigError(f"{where} must be True, False, off, warn or kill, not {value!r}") from error
