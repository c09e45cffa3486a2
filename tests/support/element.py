"""A computing element in a process of its own, driven line by line: it becomes a subreaper, which pytest must not."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

DEADLINE_SECONDS = 30.0


class Element:
    """The handle of the test."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.process = process

    def ask(self, name: str, **arguments: Any) -> Any:
        """Call *name* over there."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"name": name, **arguments}).encode() + b"\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "the driver has died"
        return json.loads(line)

    def run(self, script: Path, log: Path) -> dict[str, Any]:
        """Submit *script* and wait for its end."""
        self.ask("submit", script=str(script), log=str(log))
        (end,) = self.ask("wait")
        return dict(end)


@contextmanager
def element(spawner: str, *preload: str, slots: int = 2, ignored: Sequence[signal.Signals] = ()) -> Iterator[Element]:
    """A computing element with the "zygote" (which loads *preload*) or "interpreter" spawner.

    An "early zygote" has its spare before the element is made. Whoever starts it ignores the signals *ignored*.
    """

    def ignore() -> None:
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)

    command = [sys.executable, "-m", "tests.support.element", spawner, str(slots), *preload]
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root, preexec_fn=ignore if ignored else None
    )
    try:
        yield Element(process)
    finally:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        try:
            process.wait(DEADLINE_SECONDS)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


def main() -> None:
    """The driver."""
    from runner.computing.inprocess import InProcessComputingElement

    # As the agent does: what a shell in the background had ignored is caught, and so is default after an exec.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    kind, slots, *preload = sys.argv[1:]
    spawner = _spawner(kind, preload)
    there = InProcessComputingElement(spawner, slots=int(slots))
    for line in sys.stdin:
        match json.loads(line):
            case {"name": "submit", "script": script, "log": log}:
                answer: Any = asdict(there.submit_job(Path(script), Path(log)))
            case {"name": "wait", **rest}:
                answer = _wait(there, rest.get("seconds", DEADLINE_SECONDS))
            case {"name": "signal", "number": number}:
                answer = there.signal(signal.Signals(number))
            case {"name": "strays"}:
                answer = there.reap_strays()
            case {"name": "free"}:
                answer = there.free_slots
            case {"name": "serving"}:
                answer = sorted(spawner.pids())
            case unknown:
                raise ValueError(unknown)
        print(json.dumps(answer), flush=True)
    there.close()


def _spawner(kind: str, preload: list[str]) -> Any:
    from runner.computing.spawners import InterpreterSpawner
    from runner.computing.zygote import ZygoteSpawner
    from tests.support.waiting import eventually

    if kind == "interpreter":
        return InterpreterSpawner()
    spawner = ZygoteSpawner(preload)
    if kind == "early zygote":
        eventually(lambda: len(spawner.pids()) == 2, DEADLINE_SECONDS, "a spare")
    return spawner


def _wait(there: Any, seconds: float) -> list[dict[str, Any]]:
    import time

    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if ends := there.wait(max(0.0, deadline - time.monotonic())):
            return [asdict(end) for end in ends]
    return []


if __name__ == "__main__":
    main()
