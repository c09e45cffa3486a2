"""Inside the processes under test: where they can be struck, and the strikes themselves.

`arm` hooks what every fact and every acknowledgement goes through, so that each of them is a point. The product knows
nothing of it: the fault suite starts `wms` and `agent` through `tests.faults.armed`, and the wrapper's script, which a
test may write as it likes, calls `arm` before anything else.
"""

import contextlib
import errno
import functools
import json
import os
import select
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from runner.locks import lock_holder
from telemetry.clock import NANOSECONDS, SystemClock
from telemetry.facts import StageName
from telemetry.journal import Journal, read_journal
from telemetry.outbox import Acknowledgements
from tests.faults import naming
from tests.faults.plan import Moment, Plan, Shot, Strike
from tests.support.processes import look
from tests.support.waiting import eventually

#: Below the folder of the site.
FOLDER = "faults"
FILLER = "filler"
#: Beside the plans: calls for which the WMS could not be reached, as their callers saw it.
UNCONNECTED = "unconnected"
#: Beside the plan of an attempt, as soon as a part of it is carried out: the payloads that wait for that see it.
DONE = ".done"


class Striker:
    """Knows the plans of a site, and carries them out in this process."""

    def __init__(self, site: Path) -> None:
        self.site = site
        self._folder = site / FOLDER
        self._plans: dict[str, Plan | None] = {}
        self._passed: Counter[tuple[str, str]] = Counter()
        self._mutex = threading.RLock()

    def number(self, attempt: str, names: Sequence[str]) -> list[str]:
        """*names* of one place, with the number of their passing in this process, which are also written down."""
        plan = self._plan(attempt)
        if plan is None:
            return []
        with self._mutex:
            self._passed.update((attempt, name) for name in names)
            named = [f"{name}#{self._passed[attempt, name]}" for name in names]
        if plan.record:
            with (self._folder / f"{attempt}.points").open("a") as file:
                file.write("\t".join(named) + "\n")
        return named

    def due(self, attempt: str, points: Collection[str], moment: Moment) -> list[tuple[Strike, Path]]:
        """The strikes planned for here and now. Each is given once, whatever dies afterwards."""
        plan = self._plan(attempt)
        found = []
        for number, strike in enumerate(plan.strikes if plan else ()):
            if strike.point in points and strike.moment == moment:
                done = self._folder / f"{attempt}.{number}.shot"
                with contextlib.suppress(FileExistsError):
                    os.close(os.open(done, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
                    found.append((strike, done))
        return found

    def strike(self, attempt: str, strikes: list[tuple[Strike, Path]]) -> None:
        """Carry out *strikes*, in order, each written down first."""
        for strike, done in strikes:
            control = self.site / "jobs" / attempt / "control"
            name = naming.last_of(read_journal(control) if control.is_dir() else [])
            pids = {target: self._pid(target, control) for target in strike.targets}
            looks = {target: seen for target, pid in pids.items() if pid and (seen := look(pid))}
            shot = Shot(
                strike,
                name,
                {target: seen.pid for target, seen in looks.items()},
                {target: seen.start_ticks for target, seen in looks.items()},
            )
            temporary = done.with_suffix(".new")
            temporary.write_text(json.dumps(asdict(shot)))
            temporary.replace(done)
            (self._folder / f"{attempt}{DONE}").touch()
            # What another thread notices of these it says after their effect is known: it may be struck over it.
            with self._mutex if strike.what.startswith(("clock", "pause")) else contextlib.nullcontext():
                if effect := self._carry_out(strike, shot, control):
                    done.with_suffix(".effect").write_text(effect)

    def pass_by(self, attempt: str, points: Collection[str], moment: Moment) -> None:
        """The process is at *points* now: several names of one place."""
        if strikes := self.due(attempt, points, moment):
            self.strike(attempt, strikes)

    def stay(self, attempt: str, stage: str) -> None:
        """Stay in *stage*, for half a minute at most, until what is planned for it has been done: its clock goes on."""
        plan = self._plan(attempt)
        for number, strike in enumerate(plan.strikes if plan else ()):
            if naming.waits_in_stage(strike.point, stage):
                with contextlib.suppress(AssertionError):  # the verdict says that it was never reached
                    eventually((self._folder / f"{attempt}.{number}.shot").exists, 30.0)

    def _plan(self, attempt: str) -> Plan | None:
        if attempt not in self._plans:
            try:
                self._plans[attempt] = Plan.from_json(json.loads((self._folder / f"{attempt}.json").read_text()))
            except FileNotFoundError:
                self._plans[attempt] = None
        return self._plans[attempt]

    def _pid(self, target: str, control: Path) -> int:
        lock = {
            "wrapper": control / "wrapper.lock",
            "agent": self.site / "agent" / "agent.lock",
            "wms": self.site / "wms.lock",
        }.get(target)
        return (lock_holder(lock) or 0) if lock else os.getpid()

    def _carry_out(self, strike: Strike, shot: Shot, control: Path) -> str:
        """What was seen of it at once; for signals that is told by those who look from outside."""
        what, _, detail = strike.what.partition(":")
        jobs = self.site / "jobs"
        if what == "fill":
            return fill(jobs / FILLER)
        if what == "readonly":
            return f"{detail} is read-only" if _remount(self.site / detail) else ""
        if what == "garble":
            return garble(control / detail)
        if what == "pause":
            return pause(float(detail))
        if what == "clock":
            return step_clock(int(detail))
        self._signal(what, shot)
        return ""

    def _signal(self, what: str, shot: Shot) -> None:
        for target, pid in sorted(shot.pids.items(), key=lambda each: each[0] == "self"):  # ourselves last
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.Signals[what])
                if what == "SIGKILL" and target != "self":
                    _await_end(pid)


def _remount(path: Path) -> bool:
    """Make the file system at *path* read-only, as soon as nobody has a file open there for writing."""
    pause, deadline = threading.Event(), time.monotonic() + 20.0
    while time.monotonic() < deadline:
        if subprocess.run(["mount", "-o", "remount,ro", path], check=False, capture_output=True).returncode == 0:
            return True
        pause.wait(0.02)
    return False


def fill(path: Path) -> str:
    """Take the last byte of the file system on which *path* is; what a write says after that."""
    probe = path.with_name(f"{path.name}-{os.getpid()}")
    with contextlib.ExitStack() as stack:
        stack.callback(probe.unlink, missing_ok=True)
        for _ in range(3):  # others may have made room
            _fill(path)
            try:
                probe.write_bytes(b"x")
            except OSError as error:
                return f"a write fails: {errno.errorcode.get(error.errno or 0, error)}"
    return ""


def _fill(path: Path) -> None:
    with path.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        for size in (1 << 20, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while file.write(b"\0" * size):
                    pass


def garble(path: Path) -> str:
    """Damage the last lines of *path* as a broken disk would, and leave half a line of rubbish behind them."""
    try:
        data = bytearray(path.read_bytes())
    except FileNotFoundError:
        return ""
    start = max(0, len(data) - 200)
    for position in range(start, len(data), 7):
        if data[position] != 0x0A:
            data[position] ^= 0x5A
    fd = os.open(path, os.O_WRONLY)
    try:
        os.pwrite(fd, bytes(data) + b'{"v":1,"writer":"\xff\xfe\x00', 0)
    finally:
        os.close(fd)
    return f"{len(data) - start} bytes damaged"


def pause(seconds: float) -> str:
    """Be stopped, by a child that lets us go on."""
    ours = os.getpid()
    child = os.fork()
    if child == 0:
        try:
            while (seen := look(ours)) is not None and seen.state not in "TZX":  # told before, we would stand for ever
                select.select([], [], [], 0.01)
            select.select([], [], [], seconds)
            os.kill(ours, signal.SIGCONT)
        finally:
            os._exit(0)
    start = time.monotonic()
    os.kill(ours, signal.SIGSTOP)
    os.waitpid(child, 0)
    stood = time.monotonic() - start
    return f"stood still for {stood:.1f} s" if stood > seconds / 2 else ""


def step_clock(seconds: int) -> str:
    """From now on the wall clock of this process is *seconds* off; the machine's is never touched."""
    true, start, before_ns = SystemClock.utc_ns, time.monotonic(), SystemClock().utc_ns()
    SystemClock.utc_ns = lambda self: true(self) + seconds * NANOSECONDS  # type: ignore[method-assign]
    stepped = (SystemClock().utc_ns() - before_ns) / NANOSECONDS
    took = time.monotonic() - start
    return f"the clock of this process has stepped by {seconds} s" if -1 < stepped - seconds < took + 1 else ""


def arm(site: Path) -> Striker:
    """Make every fact and every acknowledgement that this process (or a fork of it) writes a point."""
    striker = Striker(site)
    _arm_journal(striker)
    _arm_stages(striker)
    _arm_acknowledgements(striker)
    _arm_calls(striker)
    return striker


def _arm_journal(striker: Striker) -> None:
    from runner.wms.client import WmsClient

    write, append, report = Journal._write, Journal.append, WmsClient.report
    here = threading.local()
    stages: dict[str, str] = {}

    def writing(self: Journal, line: bytes) -> None:
        attempt, known = self._path.parent.parent.name, json.loads(line)
        kind, data = known["fact"], known["data"]
        stage = stages.get(attempt, naming.BEFORE_ANY_STAGE)
        names = naming.of_fact(self._writer, kind, data, stage, getattr(here, "reported", ()))
        if kind == "StageStarted":
            stages[attempt] = data["stage"]
        here.points = points = striker.number(attempt, names)
        striker.pass_by(attempt, points, "before")
        if strikes := striker.due(attempt, points, "torn"):
            os.write(self._fd, b"\n" * self._torn + line[: len(line) // 2])
            self._torn = True
            striker.strike(attempt, strikes)
        write(self, line)

    @functools.wraps(append)
    def appending(self: Journal, fact: Any) -> Any:
        entry = append(self, fact)
        striker.pass_by(self._path.parent.parent.name, here.points, "after")
        return entry

    @functools.wraps(report)
    def reporting(self: WmsClient, job_id: int, statuses: Any, parameters: Any, *rest: Any) -> Any:
        here.reported = naming.labels(statuses.values(), parameters)
        try:
            return report(self, job_id, statuses, parameters, *rest)
        finally:
            here.reported = ()

    Journal._write = writing  # type: ignore[method-assign]
    Journal.append = appending  # type: ignore[method-assign]
    WmsClient.report = reporting  # type: ignore[method-assign]


def _arm_stages(striker: Striker) -> None:
    """What the watchdog's clock makes in a stage has its time there, when something is planned for it."""
    from runner.process.watchdog import Watchdog

    enter = Watchdog.enter_stage

    @functools.wraps(enter)
    def entering(self: Watchdog, stage: StageName) -> None:
        enter(self, stage)
        striker.stay(self._work.parent.name, stage)

    Watchdog.enter_stage = entering  # type: ignore[method-assign]


def _arm_acknowledgements(striker: Striker) -> None:
    append = Acknowledgements._append

    def acknowledging(self: Acknowledgements, *lines: dict[str, object], durable: bool = True) -> None:
        attempt, sink = self._path.parent.parent.name, self._path.name.removesuffix(".jsonl")
        entries = read_journal(self._path.parent) if sink == naming.STATUS_ACKS else []
        named = [
            striker.number(attempt, naming.of_acknowledgement(sink, line, self._positions, entries)) for line in lines
        ]
        points = [point for each in named for point in each]
        striker.pass_by(attempt, points, "before")
        for number, each in enumerate(named):
            if strikes := striker.due(attempt, each, "torn"):
                whole = "".join(json.dumps(line) + "\n" for line in lines[:number])
                with self._path.open("ab") as file:
                    file.write(b"\n" * self._torn + whole.encode() + json.dumps(lines[number]).encode()[:20])
                self._torn = True
                striker.strike(attempt, strikes)
        append(self, *lines, durable=durable)
        striker.pass_by(attempt, points, "after")

    Acknowledgements._append = acknowledging  # type: ignore[method-assign]


def _arm_calls(striker: Striker) -> None:
    """Not to strike there: only who has called knows that nobody listened, or that a certificate was wrong."""
    from runner.wms.connections import Connections, HTTPError, Response

    call = Connections.call

    @contextlib.contextmanager
    def calling(self: Connections, method: str, url: str, **options: Any) -> Iterator[Response]:
        options["headers"] = {**(options.get("headers") or {}), naming.CALLER: str(os.getpid())}
        try:
            with call(self, method, url, **options) as response:
                yield response
        except HTTPError as error:
            for reason, words in naming.UNCONNECTED.items():
                if words in str(error):
                    with (striker.site / FOLDER / UNCONNECTED).open("a") as file:
                        file.write(f"{reason}\t{os.getpid()}\t{naming.call_of(method, urlsplit(url).path)}\n")
            raise

    Connections.call = calling  # type: ignore[method-assign]


def around(
    owner: Any, name: str, striker: Striker, point: str, attempt_of: Callable[[tuple[Any, ...], Any], str | None]
) -> None:
    """Make the call of `owner.name` a point; *attempt_of* (arguments, result or None) says for which attempt."""
    inner = getattr(owner, name)

    @functools.wraps(inner)
    def outer(*args: Any, **options: Any) -> Any:
        attempt = attempt_of(args, None)
        named = striker.number(attempt, [point]) if attempt else []
        if attempt:
            striker.pass_by(attempt, named, "before")
        result = inner(*args, **options)
        if attempt is None and (attempt := attempt_of(args, result)):
            named = striker.number(attempt, [point])
        if attempt:
            striker.pass_by(attempt, named, "after")
        return result

    setattr(owner, name, outer)


def _await_end(pid: int) -> None:
    with contextlib.suppress(OSError):
        fd = os.pidfd_open(pid)
        try:
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            poll.poll(5000)
        finally:
            os.close(fd)
