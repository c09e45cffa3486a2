"""wrapper CONTROL WORK METHOD GRACE ARGV...: a wrapper that starts a payload and then stays until it is killed.

Prints the pid of its starter when the payload runs.
"""

import signal
import sys
from pathlib import Path

from runner.process.starter import PayloadCommand, Starter
from telemetry.clock import SystemClock

control, work = Path(sys.argv[1]), Path(sys.argv[2])
starter = Starter.fork(
    control,
    method=sys.argv[3],
    uid_label="test",
    orphan_grace_seconds=float(sys.argv[4]),
    kill_grace_seconds=float(sys.argv[4]),
    clock=SystemClock(),
)
command = PayloadCommand(
    argv=tuple(sys.argv[5:]), environment={}, folder=work, stdout=work / "std.out", stderr=work / "std.err"
)
print(starter.prepare().environment_mark, starter.pid, *starter.prepare().cgroup_paths, flush=True)
starter.start(command)
print("started", flush=True)
while True:
    signal.pause()
