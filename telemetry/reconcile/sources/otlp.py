"""OTLP/JSON, a line for each export: our files, and those of a collector's file exporter.

An event has some seventy attributes, of which we want a quarter. To parse all of it takes four times as long as to look
for these, which works because within JSON a quote in a text is never bare. Whatever does not look as expected (white
space, escapes, another order) is parsed in full, and what cannot be parsed is counted.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from telemetry import catalogue
from telemetry.live.lines import complete_lines
from telemetry.live.otlp import NotOtlp, accounting_of
from telemetry.reconcile.columns import from_record
from telemetry.reconcile.sources.records import RECORD_TYPES, keep_flat
from telemetry.reconcile.workbench import Workbench

FIELDS = {field: kind for field, kind in RECORD_TYPES.items() if field != "ArrivalTime"}
_NAMES = {catalogue.accounting_attribute(name).removeprefix(catalogue.ACCOUNTING_PREFIX): name for name in FIELDS}
_ATTRIBUTE = re.compile(
    b'"jobspan\\.accounting\\.(' + "|".join(map(re.escape, _NAMES)).encode() + b')","value":{"\\w+":("[^"]*"|[^,}]+)'
)
#: Begins the attributes of a record (and of a resource, and of a scope).
_ATTRIBUTES = b'"attributes":'
_FIELD = {short.encode(): f'"{name}":'.encode() for short, name in _NAMES.items()}
_NEEDED = frozenset(
    catalogue.accounting_attribute(name).removeprefix(catalogue.ACCOUNTING_PREFIX).encode()
    for name in ("UID", "JobID", "Attempt", "RecordedBy", "EndTime", "WallClockTime", "CPUTime", "Processors")
)
_BUFFER = 4096


def read(bench: Workbench, name: str, paths: list[Path]) -> tuple[str, list[str]]:
    """The accounting events of *paths* as a relation of our columns, and sentences about what is damaged."""
    flat = bench.engine.folder / f"{name}.jsonl"
    damaged = 0
    with flat.open("wb", buffering=1 << 20) as file:
        batch: list[bytes] = []
        for path in paths:
            for number, line in complete_lines(path):
                try:
                    batch.extend(_flat(line, number))
                except NotOtlp:
                    damaged += 1
                if len(batch) >= _BUFFER:
                    file.writelines(batch)
                    batch.clear()
        file.writelines(batch)
    relation = keep_flat(bench, name, FIELDS, from_record(FIELDS))
    problems = [f"{name}: {damaged} lines of OTLP are damaged"] if damaged else []
    return relation, problems


def _flat(line: bytes, number: int) -> Iterator[bytes]:
    """The records in *line*, each as a line of flat JSON.

    Raises:
        NotOtlp: it is not OTLP.
    """
    if not line.startswith(b"{") or not line.rstrip().endswith(b"}"):
        raise NotOtlp("not a line of JSON")
    if b"jobspan.accounting." not in line:
        return
    flat: list[bytes] = []
    for part in line.split(_ATTRIBUTES):
        found = _ATTRIBUTE.findall(part)
        if not found:
            continue
        if b"\\" in part or not _NEEDED.issubset(values := dict(found)) or len(values) != len(found):
            flat.clear()
            break
        flat.append(b"{" + b",".join([_FIELD[name] + value for name, value in found]) + b"}\n")
    yield from flat or _parsed(line, number)


def _parsed(line: bytes, number: int) -> Iterator[bytes]:
    for event in accounting_of(line, number):
        values = {field: event.record[field] for field in FIELDS if event.record.get(field) is not None}
        yield json.dumps(values).encode() + b"\n"
