"""`sacct --parsable2` of Slurm: a line for each job of the batch system, which is a pilot to us.

    sacct -P -a -S 2026-11-01 -o JobIDRaw,NodeList,Start,End,ElapsedRaw,TotalCPU,AllocCPUS,State

Steps (`17.batch`) are part of their job: its CPU is known when all of them have ended, which is later than the end of a
job that was cancelled. `CPUTimeRAW` is wall clock x cores, whatever its name says: it is not read.
Slurm writes local times without a zone; which of the two 02:30 of an autumn night is meant follows from the length.
States are all taken in which something was used, OUT_OF_MEMORY and CANCELLED too.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

from telemetry.reconcile.sources.wanted import SourceError

_IDS = ("JobIDRaw", "JobID")
_CORES = ("AllocCPUS", "NCPUS", "ReqCPUS")
_US = 1_000_000
#: What Slurm writes where there is no time yet, or never.
_NO_TIME = ("", "Unknown", "None")
_Row: TypeAlias = Mapping[str, str]


def pilots(
    lines: Iterable[str], *, unread: Callable[[str], object], site: str = "", zone: str = ""
) -> Iterator[Mapping[str, Any]]:
    """Our columns of every job that has started; one that runs has no end yet. *unread* hears of lines that cannot be
    read.

    Raises:
        SourceError: a column is missing, or the zone is unknown.
    """
    bare = (line.rstrip("\r\n") for line in lines)
    names = next(bare, "").split("|")
    identity, cores = _first(_IDS, names), _first(_CORES, names)
    missing = [name for name in ("Start", "End", "TotalCPU") if name not in names]
    if missing or not identity or not cores or not {"ElapsedRaw", "Elapsed"} & set(names):
        raise SourceError(f"sacct: columns are missing (there are {', '.join(filter(None, names)) or 'none'})")
    try:
        local: tzinfo = ZoneInfo(zone) if zone else UTC
    except (KeyError, ValueError, OSError) as error:
        raise SourceError(f"sacct: there is no time zone {zone!r}") from error
    for row, steps in _jobs(_rows(bare, names, unread), identity):
        try:
            pilot = _pilot(row, identity, cores, local)
            is_complete = all(_moments(each["End"], local) for each in steps)
        except ValueError:
            unread("|".join(row.values()))
            continue
        if pilot is not None:
            yield {**pilot, "cpu_us": pilot["cpu_us"] if is_complete else None, "site": site or None}


def duration_us(text: str) -> int | None:
    """`[days-][hours:]minutes:seconds`, or seconds."""
    days, _, clock = text.rpartition("-")
    try:
        seconds = 0.0
        for part in clock.split(":"):
            seconds = seconds * 60 + float(part)
        return round((seconds + 86400 * int(days or 0)) * _US)
    except ValueError:
        return None


def _first(wanted: Iterable[str], names: Iterable[str]) -> str:
    known = set(names)
    return next((each for each in wanted if each in known), "")


def _rows(lines: Iterable[str], names: Sequence[str], unread: Callable[[str], object]) -> Iterator[_Row]:
    """Each line by the names of its columns: sacct quotes nothing, so whatever has another number of them is torn, or
    has the delimiter in a name."""
    for line in lines:
        fields = line.split("|")
        if len(fields) == len(names):
            if fields != names:  # the head of a further file
                yield dict(zip(names, fields, strict=True))
        elif line:
            unread(line)


def _jobs(rows: Iterable[_Row], identity: str) -> Iterator[tuple[_Row, list[_Row]]]:
    """Each job with the steps that follow it."""
    job: _Row | None = None
    steps: list[_Row] = []
    for row in rows:
        if "." in row[identity]:
            steps.append(row)
            continue
        if job is not None:
            yield job, steps
        job, steps = row, []
    if job is not None:
        yield job, steps


def _pilot(row: _Row, identity: str, cores: str, local: tzinfo) -> dict[str, Any] | None:
    """Our columns of a job; None: it has not started.

    Raises:
        ValueError: a value is none.
    """
    starts, ends = _moments(row["Start"], local), _moments(row["End"], local)
    if not starts:
        return None
    wall_us, cpu_us = duration_us(row.get("ElapsedRaw") or row.get("Elapsed") or ""), duration_us(row["TotalCPU"])
    if wall_us is None or (cpu_us is None and row["TotalCPU"]):
        raise ValueError("a duration is none")
    start_us, end_us = min(
        ((start, end) for start in starts for end in ends),
        key=lambda pair: abs(pair[1] - pair[0] - wall_us),
        default=(starts[0], None),
    )
    return {
        "batch": row[identity],
        "host": row.get("NodeList") or None,
        "cores": int(row[cores] or 0),
        "wall_us": wall_us,
        "cpu_us": None if end_us is None else cpu_us,
        "start_us": start_us,
        "end_us": end_us,
    }


def _moments(text: str, local: tzinfo) -> list[int]:
    """The moment that *text* names; two in the hour that an autumn night has twice, none for `Unknown`.

    Raises:
        ValueError: it is no time.
    """
    if text in _NO_TIME:
        return []
    if text.isdigit():
        return [int(text) * _US]  # SLURM_TIME_FORMAT=%s
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is not None:
        return [round(moment.timestamp() * _US)]
    return sorted({round(moment.replace(tzinfo=local, fold=fold).timestamp() * _US) for fold in (0, 1)})
