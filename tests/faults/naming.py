"""What the points of a job are called: by what happens there, so that each is found again in the next job. Pure.

A clock decides how many samples a job has, and how many statuses go along in one call. What it decides must not be
part of a name: a sample is named by its stage, a report and its sub-span by each status and each parameter that it
carries, and the acknowledgement of statuses by each fact that it settles. Where a name says how often, the job waits
until that has come: the payload (`waits_for_payload`), or the wrapper in its stage (`waits_in_stage`).
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from telemetry.entries import Entry

#: Facts that the watchdog's clock makes.
SAMPLED = frozenset({"UsageSampled", "HeartbeatMade"})
#: What is reported to the WMS, and acknowledged by "wms-status".
REPORTED = frozenset({"StatusChanged", "ParametersSet", "JobAccepted"})
REPORT = "POST /api/jobspan/jobs/{id}/report"
HEARTBEAT = "PATCH /api/jobs/heartbeat"
STATUS_ACKS = "wms-status.acks"
BEFORE_ANY_STAGE = "start"


#: The header in which a process under test says its pid.
CALLER = "Faults-Caller"
#: Why there was no connection, by words in what the client says of it.
UNCONNECTED: Mapping[str, str] = {"ECONNREFUSED": "Connection refused", "certificate": "CERTIFICATE_VERIFY_FAILED"}


def call_of(method: str, path: str) -> str:
    """`GET /api/jobs/{id}/sandbox` of the call of a job's own address."""
    return f"{method} {re.sub(r'/[0-9]+(?=/|$)', '/{id}', path.partition('?')[0])}"


def last_of(entries: Iterable[Entry], before_ns: int | None = None) -> str:
    """`wrapper:StageStarted`: the newest of *entries*, or of those before that moment of CLOCK_BOOTTIME."""
    found = [each for each in entries if before_ns is None or each.boottime_ns < before_ns]
    last = max(found, key=lambda each: each.boottime_ns, default=None)
    return f"{last.writer}:{type(last.fact).__name__}" if last else "no fact"


def kind_of(point: str) -> str:
    """`StageStarted` of `wrapper:StageStarted#3`, `UsageSampled` of `wrapper:UsageSampled[execute]#2`."""
    return re.split(r"[\[#]", point, maxsplit=1)[0].rpartition(":")[2]


def waits_for_payload(point: str) -> bool:
    """Whether it comes again and again while a payload runs that writes: such a payload can wait until it has come."""
    name = point.rpartition("#")[0]
    return name == "wrapper:OutputSeen" or HEARTBEAT in name or name in {f"wrapper:{kind}[execute]" for kind in SAMPLED}


def waits_in_stage(point: str, stage: str) -> bool:
    """Whether it comes again and again while the wrapper is in *stage*, where no payload could wait for it."""
    return stage != "execute" and point.rpartition("#")[0] in {f"wrapper:{kind}[{stage}]" for kind in SAMPLED}


def labels(statuses: Iterable[Mapping[str, str]], parameters: Iterable[str] = ()) -> list[str]:
    """A name for each of the *statuses* and *parameters* of a report."""
    parts = ("Status", "MinorStatus", "ApplicationStatus")
    named = ["/".join(each[part] for part in parts if part in each) for each in statuses]
    return named + [f"parameter {name}" for name in parameters]


def of_call(call: str, body: Mapping[str, Any]) -> list[str]:
    """The names of a *call* with *body*: those of what a report carries, or its own."""
    if call != REPORT:
        return [call]
    carried = labels(body.get("Statuses", {}).values(), body.get("Parameters", {}))
    return [f"{call}[{each}]" for each in carried or ["heartbeat"]]


def of_fact(writer: str, kind: str, data: Mapping[str, Any], stage: str, reported: Sequence[str]) -> list[str]:
    """The names of a fact that *writer* writes in *stage*; *reported* is what its thread has just reported."""
    if kind in SAMPLED:
        return [f"{writer}:{kind}[{stage}]"]
    if kind != "OperationFinished":
        return [f"{writer}:{kind}"]
    if data["name"] == REPORT and reported:
        return [f"{writer}:{kind}[{REPORT} {each}]" for each in reported]
    return [f"{writer}:{kind}[{data['name']}]"]


def of_acknowledgement(sink: str, line: Mapping[str, Any], positions: Mapping[str, int], es: list[Entry]) -> list[str]:
    """The names of *line* in the acknowledgements of *sink*: one for each reported fact of *es* that it settles."""
    if sink != STATUS_ACKS or "writer" not in line:
        return [sink]
    writer, count, found = line["writer"], Counter[str](), []
    for entry in es:
        kind = type(entry.fact).__name__
        if entry.writer == writer and kind in REPORTED:
            count[kind] += 1
            if positions.get(writer, 0) < entry.sequence <= line["sequence"]:
                found.append(f"{sink}[{writer} {kind} {count[kind]}]")
    return found or [sink]


def places(jobs: Sequence[Sequence[Sequence[str]]]) -> list[str]:
    """One name for each place that any of *jobs* has passed, in order: names that were always of one place are one."""
    together: dict[str, frozenset[str]] = {}
    for job in jobs:
        for names in job:
            for name in names:
                together[name] = together.get(name, frozenset(names)).intersection(names)
    found: dict[str, None] = {}
    for name, others in together.items():
        if not any(other in found and name in together[other] for other in others):
            found[name] = None
    return list(found)


def passed_by(jobs: Sequence[Sequence[Sequence[str]]]) -> Counter[str]:
    """By how many of *jobs* each name was passed."""
    return Counter(name for job in jobs for name in {each for names in job for each in names})
