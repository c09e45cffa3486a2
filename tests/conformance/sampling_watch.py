"""An adapter that holds sampling by parentage against the suite, as `psutil.Process.children(recursive=True)` does it.

DIRAC's and pilot3's watchdogs work so: every now and then the whole machine's `/proc` is scanned, whose parent chain
leads to the payload is added up, and the largest sum is the answer. The kill goes to whoever is found so. What was
between two samples, and what has left the chain of parents, is not seen. See README.md beside this.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

TICKS = os.sysconf("SC_CLK_TCK")
KILL_GRACE_SECONDS = 0.1


def main() -> None:
    """Say what there is, then serve line after line."""
    why = "CPU of all whose chain of parents leads to the payload, at the last of the samples"
    _say({"watchdog": "sampler", "methods": [["children", True, why]]})
    for line in sys.stdin:
        _say(run(json.loads(line)))


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Run one program; its end is the end."""
    begin, own = time.monotonic(), time.process_time()
    folder = Path(request["folder"])
    user = request["user"] or {}
    with open(folder / "std.out", "wb") as out:
        process = subprocess.Popen(
            request["argv"],
            env=request["environment"],
            cwd=folder,
            stdout=out,
            stderr=out,
            start_new_session=True,
            user=user.get("uid"),
            group=user.get("gid"),
            extra_groups=user.get("groups"),
        )
    end_after = request.get("end_after_seconds") or request["limit_seconds"]
    used, reading = 0.0, 0.0
    while True:
        left = begin + end_after - time.monotonic()
        try:
            process.wait(max(0.0, min(request["sample_seconds"], left)))
            break
        except subprocess.TimeoutExpired:
            reading = sum(_tree(process.pid).values())
            used = max(used, reading)
        if left <= 0:
            end(process)
            break
    return {
        "exit_code": process.returncode,
        "cpu_seconds": used,
        "uncertainty_seconds": 0.0,
        "method": request["method"],
        "own_cpu_seconds": time.process_time() - own,
    }


def end(process: subprocess.Popen[bytes]) -> None:
    """TERM, a grace, KILL to all that are found."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in _tree(process.pid):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        try:
            process.wait(KILL_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            continue
    process.wait()


def _tree(root: int) -> dict[int, float]:
    """CPU of *root* and all below, with that of the children that they have waited for."""
    parents: dict[int, int] = {}
    used: dict[int, float] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = Path(f"/proc/{name}/stat").read_bytes().rpartition(b")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents[int(name)] = int(fields[1])
        used[int(name)] = sum(map(int, fields[11:15])) / TICKS
    found = {root} & used.keys()
    news = set(found)
    while news:
        news = {pid for pid, parent in parents.items() if parent in news}
        found |= news
    return {pid: used[pid] for pid in found}


def _say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
