"""What a match costs while many jobs wait: in few queues and in many, with a slot that fits and one that fits nothing.

In process, without HTTP: what is measured is the search for a job and its hand-over, over SQLite on a local disk, and
over MariaDB where that is installed.
"""

import itertools
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from runner.job.matching import Requirements
from runner.server.app import open_context
from runner.server.db.job_db import DESCRIPTIONS, JOBS
from runner.server.models import MatchParams
from runner.server.services.context import ServiceContext
from runner.server.services.job_tokens import JobTokens
from runner.server.services.matcher import Matcher
from runner.server.settings import ServerSettings
from runner.server.tokens import Identity, Role
from telemetry.clock import SystemClock
from tests.bench.databases import a_database, kinds
from tests.bench.table import Row, percentile, spread

PILOT = Identity("pilot", "pilots", "local", frozenset({Role.PILOT}))
#: Jobs and queues; the last is what is aimed at.
SIZES = ((1000, 1), (100_000, 1), (100_000, 1000))
AIM_MS = 20.0
RUNNING, CHUNK = 5000, 5000


def rows(quick: bool) -> Iterator[Row]:
    """Milliseconds of a match by the database, the number of waiting jobs and that of their queues."""
    for kind, (jobs, queues) in itertools.product(kinds(), ((1000, 10),) if quick else SIZES):
        with a_database(kind) as url, tempfile.TemporaryDirectory(prefix="jobspan-bench-") as name:
            context = open_context(ServerSettings(folder=Path(name), database_url=url), SystemClock())
            _fill(context, jobs, queues)
            matcher = Matcher(context, JobTokens(context))
            found = _times(matcher, MatchParams(PilotStamp="p", Site="A", Processors=4), 20 if quick else 100)
            nothing = _times(matcher, MatchParams(PilotStamp="p", Site="A", JobTypes=["None"]), 20 if quick else 100)
            context.databases.close()
        yield from _rows(kind, jobs, queues, found, nothing)


def _rows(kind: str, jobs: int, queues: int, found: list[float], nothing: list[float]) -> Iterator[Row]:
    size = f"{kind}: {jobs} jobs wait in {queues} queues"
    for what, times in (("a match", found), ("a slot that nothing fits", nothing)):
        worst = percentile(times, 0.95)
        yield Row(
            what=f"{size}, {what}",
            ours=f"{spread(times)} ms, 95th percentile {worst:.1f}",
            aim=f"median below {AIM_MS:g} ms",
            reached=sorted(times)[len(times) // 2] < AIM_MS,
        )


def _times(matcher: Matcher, slot: MatchParams, rounds: int) -> list[float]:
    times = []
    for _ in range(rounds + 3):
        start = time.perf_counter()
        matcher.match(PILOT, slot)
        times.append((time.perf_counter() - start) * 1e3)
    return times[3:]  # the first ones compile statements and read queues


def _fill(context: ServiceContext, jobs: int, queues: int) -> None:
    """Write *jobs* waiting jobs of fifty owners into *queues*, and some that run."""
    now_ns = context.now_ns()
    with context.databases.write() as transaction:
        numbers = []
        for number in range(queues):
            owner = {"owner": f"user{number % 50}", "owner_group": f"group{number % 5}", "vo": "local"}
            wanted = Requirements(**owner, banned_sites=(f"LCG.Site{number}.org",))
            numbers.append(transaction.task_queues.find_or_add(wanted.digest, "local", 0, wanted.text))
        rows = (_job(number, numbers[number % queues], now_ns, "Waiting") for number in range(jobs))
        running = (_job(number, numbers[0], now_ns, "Running") for number in range(jobs, jobs + RUNNING))
        chunk: list[dict[str, Any]] = []
        for row in (*rows, *running):
            chunk.append(row)
            if len(chunk) == CHUNK:
                transaction.connection.execute(insert(JOBS), chunk)
                chunk = []
        if chunk:
            transaction.connection.execute(insert(JOBS), chunk)
        described = [{"JobID": number, "Description": '{"Executable": "/bin/true"}'} for number in range(1, jobs + 1)]
        transaction.connection.execute(insert(DESCRIPTIONS), described)


def _job(number: int, queue_id: int, now_ns: int, status: str) -> dict[str, Any]:
    times = ("SubmissionTime", "LastUpdateTime", "LastStatusTime", "SubmitStart", "SubmitEnd", "WaitingTime")
    return {
        "Owner": f"user{queue_id % 50}",
        "OwnerGroup": f"group{queue_id % 5}",
        "VO": "local",
        "Status": status,
        "MinorStatus": "",
        "UserPriority": 1 + number % 10,
        "TaskQueueID": queue_id,
        **dict.fromkeys(times, now_ns),
    }
