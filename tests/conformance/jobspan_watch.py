"""The adapter of our own watchdog: programs to run come in as JSON lines, what was measured goes out. See README.md.

An adapter of another watchdog would do the same with its own means.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from runner.errors import PayloadStartError, TransientJobError
from runner.process.starter import PayloadCommand, PayloadUser, Starter, StarterEvent, TreeEnded
from telemetry.clock import SystemClock
from telemetry.facts import PayloadEnded
from telemetry.measure import probe

KILL_GRACE_SECONDS = 1.0
#: Between TERM and KILL when a run is ended in the middle.
END_GRACE_SECONDS = 0.1


def main() -> None:
    """Say what there is, then serve line after line."""
    _say({"watchdog": "jobspan", "methods": [[each.method, each.is_granted, each.reason] for each in probe()]})
    for line in sys.stdin:
        try:
            _say(run(json.loads(line)))
        except (PayloadStartError, TransientJobError) as error:
            _say({"refused": str(error)})


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Run one program to its end, and that of its tree."""
    own_ns = time.process_time_ns()
    folder = Path(request["folder"])
    starter = Starter.fork(
        Path(request["control"]),
        method=request["method"],
        uid_label="conformance",
        orphan_grace_seconds=request["orphan_grace_seconds"],
        kill_grace_seconds=KILL_GRACE_SECONDS,
        clock=SystemClock(),
    )
    command = PayloadCommand(
        argv=tuple(request["argv"]),
        environment=request["environment"],
        folder=folder,
        stdout=folder / "std.out",
        stderr=folder / "std.err",
        user=PayloadUser(**request["user"]) if request["user"] else None,
    )
    try:
        starter.start(command)
        end_after = request.get("end_after_seconds")
        events = _watch(starter, request["sample_seconds"], request["limit_seconds"], end_after)
    finally:
        starter.close()
    (ended,) = (each for each in events if isinstance(each, PayloadEnded))
    (usage,) = (each.usage for each in events if isinstance(each, TreeEnded))
    return {
        "exit_code": ended.exit_code if ended.signal is None else -ended.signal,
        "cpu_seconds": usage.cpu_user_seconds + usage.cpu_system_seconds,
        "uncertainty_seconds": usage.cpu_uncertainty_seconds,
        "method": usage.cpu_method,
        "own_cpu_seconds": starter.cpu_seconds() + (time.process_time_ns() - own_ns) / 1e9,
    }


def _watch(
    starter: Starter, sample_seconds: float, limit_seconds: float, end_after_seconds: float | None
) -> list[StarterEvent]:
    """Sample as a watchdog does, until nothing is left; end it when that was asked for."""
    events: list[StarterEvent] = []
    begin = time.monotonic()
    end_at = begin + min(limit_seconds, limit_seconds if end_after_seconds is None else end_after_seconds)
    grace_seconds = 0.0 if end_after_seconds is None else END_GRACE_SECONDS
    sample_at = begin + sample_seconds
    while not any(isinstance(each, TreeEnded) for each in events):
        now = time.monotonic()
        if now >= end_at:
            starter.end_tree("asked to", grace_seconds)
            end_at = begin + limit_seconds if end_at < begin + limit_seconds else float("inf")
        if now >= sample_at:
            starter.snapshot()
            sample_at = now + sample_seconds
        events.extend(starter.poll(max(0.001, min(sample_at, end_at, now + 1.0) - now)))
    return events


def _say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
