"""An adapter that holds the shell's way against the suite: GNU `time` and bash's `times` around the payload.

Both tell what wait4 told of those that were waited for. See README.md beside this.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PATH = "/usr/bin:/bin"


def main() -> None:
    """Say what there is, then serve line after line."""
    methods = [
        ["gnu_time", shutil.which("time", path=PATH) is not None, "/usr/bin/time of the payload"],
        ["times", shutil.which("bash", path=PATH) is not None, "times of a bash that has run the payload"],
    ]
    _say({"watchdog": "shell", "methods": methods})
    for line in sys.stdin:
        _say(run(json.loads(line)))


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Run one program; its end is the end."""
    own = time.process_time()
    folder, told = Path(request["folder"]), Path(request["control"]) / "told"
    user = request["user"] or {}
    if user:
        return {"refused": "the report is written into the private folder, which only we can enter"}
    if request["method"] == "gnu_time":
        argv = ["/usr/bin/time", "-f", "%U %S", "-o", str(told), *request["argv"]]
    else:
        script = f"{shlex.join(request['argv'])}; code=$?; times >{shlex.quote(str(told))}; exit $code"
        argv = [shutil.which("bash", path=PATH) or "bash", "--norc", "-c", script]
    process = subprocess.Popen(argv, env=request["environment"], cwd=folder, start_new_session=True)
    try:
        process.wait(request.get("end_after_seconds") or request["limit_seconds"])
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()
    return {
        "exit_code": process.returncode,
        "cpu_seconds": _used(told, request["method"]),
        "uncertainty_seconds": 0.01,
        "method": request["method"],
        "own_cpu_seconds": time.process_time() - own,
    }


def _used(told: Path, method: str) -> float:
    """What was written; nothing, if it was killed before it could."""
    if not told.exists():
        return 0.0
    last = (told.read_text().splitlines() or ["0 0"])[-1]
    if method == "gnu_time":
        found = re.fullmatch(r"([\d.]+) ([\d.]+)", last)
        return float(found[1]) + float(found[2]) if found else 0.0
    return sum(60 * float(minutes) + float(seconds) for minutes, seconds in re.findall(r"(\d+)m([\d.]+)s", last))


def _say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
