"""How soon a dead wrapper's job is closed: by the agent that lives, and by the next one.

Times are those of the facts, by CLOCK_BOOTTIME; the record's arrival is when it was settled at the WMS. Wrapper and
starter are killed, so that the payload, which ignores TERM, is left to the agent.
"""

import os
import signal
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from runner.compose.site import Service
from telemetry.clock import NANOSECONDS, SystemClock
from telemetry.facts import AttemptEnded, PayloadPlanned, PayloadStarted, WrapperReaped, WrapperStarted
from tests.bench.table import Row
from tests.support.site import Site, running_site
from tests.support.waiting import eventually

ROUNDS = 11
PAYLOAD = "echo out; trap '' TERM; touch ready; while true; do sleep 0.1; done"


@dataclass(frozen=True)
class Round:
    """Seconds since the kill, or since the agent was up."""

    noticed: float | None
    closed: float
    recorded: float


def rows(quick: bool) -> Iterator[Row]:
    """The living agent, then fresh ones."""
    rounds = 2 if quick else ROUNDS
    with tempfile.TemporaryDirectory(prefix="jobspan-bench-") as name, running_site(Path(name) / "site") as site:
        alone = [_kill(site, starter=False) for _ in range(rounds)]
        both = [_kill(site, starter=True) for _ in range(rounds)]
        fresh = []
        agent = site.agent
        for number in range(rounds):
            agent, found = _next_agent(site, agent, number)
            fresh.append(found)
        agent.stop()
    yield _row("wrapper killed, its starter ends a payload deaf to TERM (grace 1 s)", alone)
    yield _row("wrapper and starter killed", both)
    yield _row("agent, wrapper and starter killed; from the next agent's ready line", fresh)


def _row(what: str, rounds: list[Round]) -> Row:
    def middle(values: list[float]) -> str:
        return f"{statistics.median(values) * 1000:.0f} ms (at most {max(values) * 1000:.0f})"

    noticed = [each.noticed for each in rounds if each.noticed is not None]
    parts = [f"noticed {middle(noticed)}"] if noticed else []
    parts.append(f"closed {middle([each.closed for each in rounds])}")
    parts.append(f"record at the WMS {middle([each.recorded for each in rounds])}")
    good = max(each.closed for each in rounds) <= 5.0 and max(noticed, default=0.0) <= 2.0
    return Row(what=what, ours=", ".join(parts), aim="noticed within 2 s, closed within 5 s", reached=good)


def _kill(site: Site, *, starter: bool) -> Round:
    job_id = _submit(site)
    killed_ns = _strike(site, job_id, starter=starter)
    reaped = site.wait_fact(job_id, WrapperReaped)
    return _told(site, job_id, killed_ns, (reaped.boottime_ns - killed_ns) / NANOSECONDS)


def _next_agent(site: Site, agent: Service, number: int) -> tuple[Service, Round]:
    job_id = _submit(site)
    agent.process.kill()
    agent.stop()
    _strike(site, job_id, starter=True)
    fresh = Service(site.config, ["agent", "--slots", "1"], site.config.folder / "logs" / f"agent{number}.log")
    return fresh, _told(site, job_id, SystemClock().boottime_ns(), None)


def _submit(site: Site) -> int:
    job_id = site.submit(Executable=PAYLOAD, Shell=True, OutputSandbox=["std.out"], CPUTime=1000)
    site.wait_fact(job_id, PayloadStarted)
    eventually((site.wait_folder(job_id) / "work" / "ready").exists, 20)
    return job_id


def _strike(site: Site, job_id: int, *, starter: bool) -> int:
    (wrapper,), (planned,) = site.facts(job_id, WrapperStarted), site.facts(job_id, PayloadPlanned)
    if starter:
        os.kill(planned.starter_pid, signal.SIGKILL)
    killed_ns = SystemClock().boottime_ns()
    os.kill(wrapper.pid, signal.SIGKILL)
    return killed_ns


def _told(site: Site, job_id: int, since_ns: int, noticed: float | None) -> Round:
    ended = site.wait_fact(job_id, AttemptEnded)
    begun = time.monotonic() - (SystemClock().boottime_ns() - since_ns) / NANOSECONDS
    site.wait_record(job_id)
    return Round(noticed, (ended.boottime_ns - since_ns) / NANOSECONDS, time.monotonic() - begun)
