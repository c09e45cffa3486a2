"""Reading answers that we do not trust: each value is what it should be, or the call has failed.

An answer that makes no sense is taken for an accident between the WMS and us (a proxy's page, a
half-made reply), hence `UnavailableError`: the call may succeed later.
"""

import math
from collections.abc import Mapping
from typing import Any

from runner.errors import UnavailableError
from telemetry.clock import parse_utc

LONGEST_TEXT = 1 << 20


class NonsenseError(UnavailableError):
    """The answer has not the form that it should have."""

    def __init__(self, what: str) -> None:
        super().__init__(f"the WMS's answer makes no sense: {what}")


def mapping(value: object, what: str) -> Mapping[str, Any]:
    """*value* as a JSON object."""
    if not isinstance(value, dict):
        raise NonsenseError(f"{what} is not an object")
    return value


def items(value: object, what: str) -> list[Any]:
    """*value* as a JSON array."""
    if not isinstance(value, list):
        raise NonsenseError(f"{what} is not a list")
    return value


def text(value: object, what: str) -> str:
    """*value* as a string of sensible length, without NUL."""
    if not isinstance(value, str) or len(value) > LONGEST_TEXT or "\0" in value:
        raise NonsenseError(f"{what} is not a text")
    return value


def optional_text(value: object, what: str) -> str:
    """*value* as a string; nothing is the empty one."""
    return "" if value is None else text(value, what)


def whole(value: object, what: str, *, least: int = 0) -> int:
    """*value* as an integer of at least *least*, below 2^63."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 1 << 63:
        raise NonsenseError(f"{what} is not a whole number from {least}")
    return value


def utc_ns(value: object, what: str) -> int:
    """*value* as a moment: ISO 8601 with a zone."""
    try:
        return parse_utc(text(value, what))
    except (ValueError, OverflowError) as error:
        raise NonsenseError(f"{what} is not a time") from error


def job_key(value: str, what: str) -> int:
    """*value*, a key of an object, as a job's number."""
    if not value.isdecimal() or len(value) > 18:
        raise NonsenseError(f"{what} is not a job's number")
    return int(value)


def finite(values: Mapping[str, Any]) -> dict[str, Any]:
    """*values* without NaN and infinities, which JSON has not and DiracX refuses."""
    return {name: value for name, value in values.items() if not isinstance(value, float) or math.isfinite(value)}
