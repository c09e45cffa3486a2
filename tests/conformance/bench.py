"""Runs a watchdog on a shape, and holds what it reports against what was burnt. See README.md beside this."""

import contextlib
import json
import os
import pwd
import secrets
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from telemetry.measure.procfs import stolen_seconds
from tests.conformance import payload
from tests.conformance.shapes import Shape
from tests.conformance.witness import NOISE_SECONDS, TICK_SECONDS, Witness, witness
from tests.support.processes import kill, look, marked_by
from tests.support.tree import ROOT

OURS = (sys.executable, str(Path(__file__).with_name("jobspan_watch.py")))
MARK_VARIABLE = "CONFORMANCE_MARK"
#: Longest that one program may take: a busy machine is not a failure, a hang is.
LIMIT_SECONDS = 120.0
#: Methods that have the kernel count, and so have no excuse.
EXACT = ("cgroup2", "cgroup1", "perf")
#: Methods whose stated uncertainty has a limit of its own.
CAPPED = ("wait4",)
#: Where in the middle: by the wall clock, in parts of the burn, so that two processors are not through with it.
KILL_AT = 0.4
#: And what an interpreter needs before it burns.
KILL_AFTER_SECONDS = 0.05
#: For so long holds what an interpreter and a fork were measured to cost.
CALIBRATED_SECONDS = 10.0


@dataclass(frozen=True)
class Costs:
    """What an interpreter and a fork cost here, at most, in seconds of CPU."""

    interpreter_seconds: float
    fork_seconds: float

    def allowed_seconds(self, shape: Shape, burn_seconds: float) -> float:
        """What *shape* may use beside its burn."""
        return shape.interpreters * self.interpreter_seconds + shape.forks(burn_seconds) * self.fork_seconds


@dataclass(frozen=True, kw_only=True)
class Row:
    """One run: what was to be burnt, what was burnt, and what the watchdog says of it. All in seconds."""

    shape: Shape
    method: str
    user: str
    programmed: float
    #: What interpreters and forks may add to that.
    allowed: float
    #: By a witness around the watchdog and its payload, less the watchdog's own; None where none can know.
    reference: float | None = None
    #: Which witness that is, and what it may have counted beside.
    witness: str = ""
    noise: float = NOISE_SECONDS
    reported: float = 0.0
    uncertainty: float = 0.0
    wall: float = 0.0
    exit_code: int = 0
    reported_method: str = ""
    survivors: int = 0
    #: Ended by the watchdog in the middle: then *programmed* is only what it would have been.
    is_killed: bool = False
    #: Why there is nothing to tell.
    not_granted: str = ""

    @property
    def error(self) -> float | None:
        """What is reported less what was used; None where nobody knows that (killed, and without a reference)."""
        if self.reference is None:
            return None if self.is_killed else self.reported - self.programmed
        return self.reported - self.reference

    def problems(self) -> list[str]:
        """What is wrong with it; nothing, if it conforms."""
        if self.not_granted:
            return []
        found = [f"{self.survivors} survivors"] if self.survivors else []
        if self.exit_code and not self.is_killed:
            found.append(f"the program failed with {self.exit_code}")
        if self.reported_method != self.method:
            found.append(f"measured by {self.reported_method}")
        low, high = self._bounds()
        if self.reference is not None and not low <= self.reference <= high:
            found.append(f"the reference lies outside of {low:.3f} to {high:.3f}")
        return found + (self._exact() if self.method in EXACT else self._bounded())

    @property
    def is_auto_reaped(self) -> bool:
        """Whether nobody could wait for some of its processes."""
        return self.shape.is_auto_reaped or (self.is_killed and self.shape.is_auto_reaped_when_killed)

    def _bounds(self) -> tuple[float, float]:
        slack = max(0.05, 0.01 * self.programmed)
        low = 0.0 if self.is_killed else self.programmed - slack
        return low, self.programmed + slack + self.allowed

    def _exact(self) -> list[str]:
        low, high = self._bounds()
        slack = max(0.05, 0.01 * self.programmed)
        found = [] if low <= self.reported <= high else [f"reported lies outside of {low:.3f} to {high:.3f}"]
        if self.reference is not None and abs(self.reported - self.reference) > slack:
            found.append(f"error above {slack:.3f}")
        return found

    def _bounded(self) -> list[str]:
        """A method that states an uncertainty must keep it."""
        noise = self.noise
        high = self._bounds()[1] if self.reference is None else self.reference + noise
        least = 0.0 if self.is_killed else self.programmed
        low = (least if self.reference is None else self.reference) - noise
        found = []
        if self.reported > high + (0.0 if self.is_auto_reaped else self.uncertainty):
            found.append("more than was used")
        if self.reported + self.uncertainty < low:
            found.append("less than was used, and not by the uncertainty")
        if self.method in CAPPED:
            cap = max(0.1, 0.02 * self.programmed)
            if self.is_auto_reaped:
                cap = self.wall * (os.cpu_count() or 1)
            found += [f"uncertainty above {cap:.3f}"] if self.uncertainty > cap else []
        return found


class Watchdog:
    """An adapter's process: one line in, one line out."""

    def __init__(self, command: Sequence[str], by: Witness) -> None:
        """Start it, and hear what it can do; what it runs is seen *by* a witness who is there already.

        Raises:
            RuntimeError: it has died or does not answer, here as in `run`.
        """
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, bufsize=0)
        self.pid = self._process.pid
        self.witness = by
        self._rest = b""
        hello = self._answer()
        self.name = str(hello["watchdog"])
        #: Of each method whether the machine grants it, and why or why not.
        self.methods = {str(method): (bool(is_granted), str(why)) for method, is_granted, why in hello["methods"]}

    @property
    def granted(self) -> list[str]:
        """The methods that can be used here."""
        return [method for method, (is_granted, _) in self.methods.items() if is_granted]

    def run(self, request: dict[str, Any]) -> dict[str, Any]:
        """Have one program run."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        return self._answer()

    def close(self) -> None:
        """Let it end."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        deadline = time.monotonic() + LIMIT_SECONDS + 30
        while b"\n" not in self._rest:
            if not select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise RuntimeError("the watchdog does not answer")
            chunk = os.read(self._process.stdout.fileno(), 65536)
            if not chunk:
                raise RuntimeError("the watchdog has died")
            self._rest += chunk
        line, _, self._rest = self._rest.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def watching(command: Sequence[str] = OURS, by: str = "") -> Iterator[Watchdog]:
    """A watchdog for the block, and the best witness that is granted, or the one named *by*."""
    with witness(by) as it:
        watchdog = Watchdog(command, it)
        try:
            yield watchdog
        finally:
            watchdog.close()


def user_nobody() -> dict[str, Any] | None:
    """The account of nobody for a payload, if we may become it and it has a Python that it can reach."""
    if os.geteuid() != 0 or interpreter("nobody") is None:
        return None
    with contextlib.suppress(KeyError):
        entry = pwd.getpwnam("nobody")
        return {"uid": entry.pw_uid, "gid": entry.pw_gid, "groups": [entry.pw_gid], "name": entry.pw_name}
    return None


def interpreter(user: str) -> str | None:
    """The Python for the programs: our own may lie in a folder that others cannot enter."""
    return shutil.which("python3", path="/usr/local/bin:/usr/bin") if user else sys.executable


def calibrated(python: str) -> Costs:
    """What an interpreter and a fork cost at this time: a machine that is slow now may have been quick before."""
    return _calibrate(python, int(time.monotonic() // CALIBRATED_SECONDS))


@lru_cache(maxsize=4)
def _calibrate(python: str, _period: int) -> Costs:
    """Measure it, once for each *_period*; doubled, as a busy machine makes both dearer."""

    def cost(shape: str) -> float:
        before = os.times()
        subprocess.run([python, "-I", "-S", payload.__file__, shape, "0"], check=True)
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    start = max(cost("nothing") for _ in range(3))
    fork = max(max(cost("forks") for _ in range(3)) - start, 0.0) / 50
    return Costs(2 * start + 0.01, 2 * fork + 0.001)


def measure(
    watchdog: Watchdog,
    shape: Shape,
    method: str,
    *,
    burn_seconds: float,
    folder: Path,
    user: dict[str, Any] | None = None,
    is_killed: bool = False,
) -> Row:
    """Have *watchdog* run *shape* in a new folder below *folder*, which the user must be able to reach.

    With *is_killed* the watchdog is told to end it in the middle.
    """
    name = user["name"] if user else ""
    python = interpreter(name) or sys.executable
    mark = secrets.token_hex(8)
    place = folder / mark
    request = _request(shape, method, place, [python, "-I", "-S", str(place / "payload.py"), shape.name])
    request |= {"environment": {"PATH": "/usr/bin:/bin", MARK_VARIABLE: mark}, "user": user}
    request["argv"].append(str(burn_seconds))
    request["end_after_seconds"] = KILL_AFTER_SECONDS + burn_seconds * KILL_AT if is_killed else None
    costs = calibrated(python)
    begin, stolen = time.monotonic(), stolen_seconds()
    with watchdog.witness.around(watchdog.pid) as seen:
        answer = watchdog.run(request)
        wall = time.monotonic() - begin
        left = marked_by(f"{MARK_VARIABLE}={mark}".encode(), place)
        survivors = ({each.pid for each in left} | set(seen.pids())) - {watchdog.pid}
        used, surplus = seen.seconds(), seen.surplus_seconds()
        stolen = stolen_seconds() - stolen
        for survivor in filter(None, map(look, survivors)):
            kill(survivor)
    refused = answer.get("refused", "")
    if answer.get("exit_code") == payload.NOT_GRANTED:
        refused = "the shape cannot be made here"
    row = Row(
        shape=shape,
        method=method,
        user=name,
        programmed=_burnt(place, burn_seconds),
        allowed=costs.allowed_seconds(shape, burn_seconds),
        reported=answer.get("cpu_seconds", 0.0),
        uncertainty=answer.get("uncertainty_seconds", 0.0),
        wall=wall,
        exit_code=answer.get("exit_code", 0),
        reported_method=answer.get("method", method),
        survivors=len(survivors),
        is_killed=is_killed,
        not_granted=refused,
    )
    if refused or (row.is_auto_reaped and not watchdog.witness.sees_auto_reaped):
        return row
    most = used - answer["own_cpu_seconds"]
    least = most - surplus
    if method == "perf" and row.is_auto_reaped and stolen > 0:
        # Its clock goes on while a hypervisor has the processor; of these children nobody can tell how long that was.
        beyond = min(stolen + TICK_SECONDS, row.uncertainty)
        most, row = most + beyond, replace(row, allowed=row.allowed + beyond)
    # Where the witness knows no better than a range, whatever lies in it agrees with it.
    reference = min(most, max(least, row.reported))
    return replace(row, witness=watchdog.witness.name, reference=reference, noise=watchdog.witness.noise_seconds)


def _burnt(place: Path, seconds: float) -> float:
    """What the program says that it has burnt, if it could not keep to *seconds*."""
    said = place / "work" / payload.BURNT
    return float((said.read_text() if said.exists() else "") or seconds)  # nothing yet, if it was killed there


def _request(shape: Shape, method: str, place: Path, argv: list[str]) -> dict[str, Any]:
    place.mkdir()
    place.chmod(0o711)
    (place / "work").mkdir()
    (place / "work").chmod(0o777)
    (place / "control").mkdir(0o700)
    shutil.copyfile(payload.__file__, place / "payload.py")
    return {
        "shape": shape.name,
        "method": method,
        "argv": argv,
        "folder": str(place / "work"),
        "control": str(place / "control"),
        "orphan_grace_seconds": shape.orphan_grace_seconds,
        "sample_seconds": 0.2 if shape.is_sampled else 2 * LIMIT_SECONDS,
        "limit_seconds": LIMIT_SECONDS,
    }
