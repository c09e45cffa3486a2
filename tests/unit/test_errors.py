"""The exception tree: what callers may rely on."""

import inspect

import pytest

from runner import errors
from runner.errors import (
    ChecksumError,
    DescriptionError,
    FencedError,
    HostileArchiveError,
    JobspanError,
    NotFoundError,
    PermanentJobError,
    RefusedError,
    TransientJobError,
    UnauthorizedError,
    UnavailableError,
)

ALL = [each for _, each in inspect.getmembers(errors, inspect.isclass) if each.__module__ == errors.__name__]


@pytest.mark.parametrize("kind", ALL)
def test_all_have_one_root_and_stand_in_the_drawing(kind: type[Exception]) -> None:
    """Every exception is a JobspanError, says what it means, and is drawn in the module's tree."""
    assert issubclass(kind, JobspanError)
    assert kind.__doc__
    assert kind.__name__ in (errors.__doc__ or "")


@pytest.mark.parametrize("kind", [FencedError, UnauthorizedError, NotFoundError])
def test_refusals_know_their_status(kind: type[RefusedError]) -> None:
    """A refusal carries the HTTP status, and catching RefusedError catches all of them."""
    error = kind("no", status_code=409)
    assert isinstance(error, RefusedError)
    assert (str(error), error.status_code) == ("no", 409)


def test_unavailable_is_no_refusal() -> None:
    """What may succeed later is never mistaken for what cannot."""
    assert not issubclass(UnavailableError, RefusedError)
    assert UnavailableError("busy", retry_after_seconds=3.0).retry_after_seconds == 3.0
    assert UnavailableError("busy").retry_after_seconds is None


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"source": "job.jdl", "line": 3, "field": "CPUTime"}, "job.jdl:3: CPUTime: not a number"),
        ({"source": "job.jdl"}, "job.jdl: not a number"),
        ({"line": 0}, "0: not a number"),
        ({}, "not a number"),
    ],
)
def test_description_errors_say_where(given: dict[str, object], text: str) -> None:
    """A description error names source, line and field, as far as they are known."""
    assert str(DescriptionError("not a number", **given)) == text  # type: ignore[arg-type]


def test_error_types_for_spans() -> None:
    """Job errors carry an error.type of low cardinality; the given one wins over the class's."""
    assert HostileArchiveError("x").error_type == "hostile_archive"
    assert ChecksumError("x").error_type == "checksum_mismatch"
    assert ChecksumError("x", error_type="size_mismatch").error_type == "size_mismatch"
    assert PermanentJobError("x").error_type == "permanent"
    assert TransientJobError("x", error_type="wms_unavailable").error_type == "wms_unavailable"
