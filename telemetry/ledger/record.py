"""The accounting record of one attempt: a frozen value, its canonical form, and which of several counts. Pure.

Which counts: a record is named by (UID, RecordedBy, Revision). Of several of one UID the one
written by the best witness counts: `wrapper` above `agent` (for a dead wrapper) above `wms` (an
estimate for a stalled job); among those of one witness, the highest Revision. So a wrapper that
comes back supersedes the estimate with its true record, whatever the order of arrival, and an
estimate can never displace a measurement. The others are kept as history. The same name with
another body is an error, not an update.

Canonical form: JSON with sorted keys, no blanks, numbers rounded to six decimals (microseconds),
nulls left out; so a later version's added, nullable fields do not change the digest of an older
record.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

from telemetry.clock import parse_utc, utc_text
from telemetry.facts import Scalar
from telemetry.ledger.schema import FIELDS, SCHEMA, SCHEMA_VERSION, FieldSpec

Value: TypeAlias = Scalar | None
RecordedBy: TypeAlias = Literal["wrapper", "agent", "wms"]

#: Who is believed most comes first.
WITNESSES: tuple[RecordedBy, ...] = ("wrapper", "agent", "wms")
TEXT_LIMIT = 4096
_INTEGER_LIMIT = 1 << 63
_NUMBER_LIMIT = 1e15


class InvalidRecord(ValueError):
    """Not an accounting record; the message names the field and what is wrong with it."""


class RecordKey(NamedTuple):
    """The name of one record: two records of one key must have one body."""

    uid: str
    recorded_by: RecordedBy
    revision: int

    @property
    def item(self) -> str:
        """`<UID>/<RecordedBy>/<Revision>`, as acknowledgements name it."""
        return f"{self.uid}/{self.recorded_by}/{self.revision}"

    @property
    def rank(self) -> tuple[int, int]:
        """Of several keys of one UID the one with the highest rank counts."""
        return -WITNESSES.index(self.recorded_by), self.revision


class Record(Mapping[str, Value]):
    """An accounting record. Every field of the schema is a key; one that is not known is None.

    Types are checked and brought into canonical form here; whether the values make sense together
    is asked with `telemetry.ledger.sanity`, because a ledger must be able to hold what is wrong.
    """

    __slots__ = ("_canonical", "_values")

    def __init__(self, values: Mapping[str, object]) -> None:
        """Take *values*; a null field may be absent.

        Raises:
            InvalidRecord: a field is missing, unknown (and the record claims our schema version), or of another type.
        """
        version = values.get("SchemaVersion")
        unknown = [name for name in values if name not in FIELDS]
        if unknown and not (isinstance(version, int) and version > SCHEMA_VERSION):
            raise InvalidRecord(f"{unknown[0]!r} is not a field of accounting record version {SCHEMA_VERSION}")
        known = {spec.name: _checked(spec, values.get(spec.name)) for spec in SCHEMA}
        newer = {name: _scalar(name, values[name]) for name in unknown}
        if known["RecordedBy"] not in WITNESSES:
            raise InvalidRecord(f"RecordedBy must be one of {', '.join(WITNESSES)}, not {known['RecordedBy']!r}")
        self._values: dict[str, Value] = {**known, **newer}
        present = {name: value for name, value in self._values.items() if value is not None}
        self._canonical = json.dumps(present, sort_keys=True, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> "Record":
        """The record of a JSON object, such as its canonical form.

        Raises:
            InvalidRecord: not JSON, not an object, or not a record.
        """
        try:
            values = json.loads(text)
        except ValueError as error:
            raise InvalidRecord(f"an accounting record must be JSON: {error}") from error
        if not isinstance(values, dict):
            raise InvalidRecord("an accounting record must be a JSON object")
        return cls(values)

    def __getitem__(self, name: str) -> Value:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __eq__(self, other: object) -> bool:
        return self._canonical == other._canonical if isinstance(other, Record) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._canonical)

    def __repr__(self) -> str:
        return f"<Record {self.key.item} job {self['JobID']} attempt {self['Attempt']}>"

    @property
    def key(self) -> RecordKey:
        """Its name: (UID, RecordedBy, Revision)."""
        by = next(witness for witness in WITNESSES if witness == self["RecordedBy"])
        return RecordKey(self.text("UID"), by, self.integer("Revision"))

    def text(self, name: str) -> str:
        """The text field *name*; empty when null."""
        value = self._values[name]
        return "" if value is None else str(value)

    def integer(self, name: str) -> int:
        """The integer field *name*; 0 when null."""
        value = self._values[name]
        return int(value) if value is not None else 0

    def number(self, name: str) -> float:
        """The number field *name*; 0 when null."""
        value = self._values[name]
        return float(value) if value is not None else 0.0

    def micros(self, name: str) -> int:
        """The number field *name* as a whole number of millionths: what adds up exactly."""
        return round(self.number(name) * 1_000_000)

    def utc_ns(self, name: str) -> int:
        """The time field *name*, nanoseconds since 1970."""
        return parse_utc(self.text(name))

    def canonical(self) -> str:
        """The one JSON text of this record."""
        return self._canonical

    def body_digest(self) -> str:
        """sha256 of the canonical form, in hex: equal exactly when the bodies are."""
        return hashlib.sha256(self._canonical.encode()).hexdigest()

    def replace(self, **changes: Value) -> "Record":
        """A copy with *changes*.

        Raises:
            InvalidRecord: as for a new record.
        """
        return Record({**self._values, **changes})


def current(records: Iterable[Record]) -> Record | None:
    """Of several records of one UID the one that counts; None when there is none."""
    return max(records, key=lambda record: record.key.rank, default=None)


def _checked(spec: FieldSpec, value: object) -> Value:
    if value is None:
        if spec.nullable:
            return None
        raise InvalidRecord(f"{spec.name} is missing")
    if spec.type == "number":
        return _number(spec.name, value)
    if spec.type == "integer":
        return _integer(spec.name, value)
    if spec.type == "time":
        return _time(spec.name, value)
    wanted: type = bool if spec.type == "boolean" else str
    if not isinstance(value, wanted):
        raise InvalidRecord(f"{spec.name} must be {spec.type}, not {_shown(value)}")
    return _scalar(spec.name, value)


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidRecord(f"{name} must be a number, not {_shown(value)}")
    if not -_NUMBER_LIMIT < value < _NUMBER_LIMIT:  # false for NaN too
        raise InvalidRecord(f"{name} must be finite and below {_NUMBER_LIMIT:g}, not {_shown(value)}")
    return round(float(value), 6) + 0.0  # + 0.0 makes -0.0 the one zero


def _integer(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidRecord(f"{name} must be a whole number, not {_shown(value)}")
    if not -_INTEGER_LIMIT <= value < _INTEGER_LIMIT:
        raise InvalidRecord(f"{name} does not fit into 64 bits")
    return value


def _time(name: str, value: object) -> str:
    try:
        return utc_text(parse_utc(str(value)))
    except (ValueError, OverflowError) as error:
        raise InvalidRecord(f"{name} must be a time in UTC, such as 2026-01-15T12:00:00.000000Z: {error}") from error


def _scalar(name: str, value: Any) -> Value:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        if len(value) > TEXT_LIMIT:
            raise InvalidRecord(f"{name} is longer than {TEXT_LIMIT} characters")
        return value
    if isinstance(value, int):
        return _integer(name, value)
    if isinstance(value, float) and math.isfinite(value):
        return _number(name, value)
    raise InvalidRecord(f"{name} must be a text, a number or a boolean, not {_shown(value)}")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
