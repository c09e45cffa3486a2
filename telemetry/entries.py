"""Entries of a journal: a fact with who wrote it, in which order and when, and its JSON form. Pure.

Rules of evolution: a reader skips kinds and fields that it does not know, and keeps a fact of an unknown kind, or with
a word beyond its vocabulary (a stage, a stream), as it stands; `FORMAT_VERSION` changes only when that is not enough.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args, get_origin

from telemetry.facts import Fact

FORMAT_VERSION = 1


class UnreadableFact(ValueError):
    """A journal line is not a fact: damaged, or written by a newer version."""


@dataclass(frozen=True, kw_only=True)
class UnknownFact(Fact):
    """A fact of a kind that this version does not know, or with such a word; kept so that nothing is lost."""

    kind: str
    data: Mapping[str, Any]


KINDS: dict[str, type[Fact]] = {kind.__name__: kind for kind in Fact.__subclasses__() if kind is not UnknownFact}
FIELD_NAMES = {kind: tuple(item.name for item in fields(kind)) for kind in Fact.__subclasses__()}
#: Of the fields that have one: their vocabulary.
_WORDS = {
    kind: tuple(
        (item.name, frozenset(get_args(item.type))) for item in fields(kind) if get_origin(item.type) is Literal
    )
    for kind in KINDS.values()
}


@dataclass(frozen=True)
class Entry:
    """A fact as the journal holds it: who wrote it, in which order, and when."""

    writer: str
    sequence: int
    utc_ns: int
    boottime_ns: int
    boot_id: str
    fact: Fact


def to_json(entry: Entry) -> dict[str, Any]:
    """*entry* as the JSON object of one journal line."""
    fact = entry.fact
    if isinstance(fact, UnknownFact):
        kind, data = fact.kind, dict(fact.data)
    else:
        kind = type(fact).__name__
        data = {name: getattr(fact, name) for name in FIELD_NAMES[type(fact)]}
    return {
        "v": FORMAT_VERSION,
        "writer": entry.writer,
        "sequence": entry.sequence,
        "utc_ns": entry.utc_ns,
        "boottime_ns": entry.boottime_ns,
        "boot_id": entry.boot_id,
        "fact": kind,
        "data": data,
    }


def from_line(line: bytes) -> Entry:
    """The entry that a *line* of a journal holds, whatever somebody may have written there.

    Raises:
        UnreadableFact: it holds none.
    """
    try:
        return from_json(json.loads(str(line, "utf-8")))
    except (ValueError, OverflowError, RecursionError) as error:
        raise UnreadableFact(f"not a journal line: {type(error).__name__}") from error


def from_json(line: Mapping[str, Any]) -> Entry:
    """The entry of one journal line.

    Raises:
        UnreadableFact: the envelope is not ours, or a known fact lacks a field.
    """
    try:
        if line["v"] != FORMAT_VERSION:
            raise UnreadableFact(f"journal format {line['v']}, this version reads {FORMAT_VERSION}")
        return Entry(
            writer=str(line["writer"]),
            sequence=int(line["sequence"]),
            utc_ns=int(line["utc_ns"]),
            boottime_ns=int(line["boottime_ns"]),
            boot_id=str(line["boot_id"]),
            fact=_fact(str(line["fact"]), line["data"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise UnreadableFact(f"not a journal line: {error!r}") from error


def _fact(kind: str, data: Mapping[str, Any]) -> Fact:
    known = KINDS.get(kind)
    if known is None or any(name in data and data[name] not in words for name, words in _WORDS[known]):
        return UnknownFact(kind=kind, data=dict(data))
    given = ((name, value) for name, value in data.items() if name in FIELD_NAMES[known])
    return known(**{name: tuple(value) if isinstance(value, list) else value for name, value in given})
