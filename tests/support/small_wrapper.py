"""A small script in place of the wrapper: it reports as a wrapper does, and does what its job's name says.

quick    runs, ends as Done
pause    runs until SIGTERM (ends as Rescheduled, preempted) or a Kill on its control socket (Killed)
stubborn runs and takes no notice of SIGTERM
die      runs, says that it is in a stage, kills itself
never    kills itself before it has said anything
away     runs, ends as Done without having told the WMS anything
"""

import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runner.locks import LockHeld
from runner.process.cancel import Cancel
from runner.wms.client import WmsClient
from runner.wms.reporter import Reporter
from runner.wms.tokens import FileToken
from runner.wrapper.control import ControlServer
from telemetry.bus import Bus
from telemetry.clock import SystemClock
from telemetry.facts import AttemptEnded, PayloadPlanned, StageStarted, StatusChanged, WrapperStarted
from telemetry.journal import Journal

TEMPLATE = """import sys
sys.path.insert(0, {root!r})
from tests.support.small_wrapper import main
sys.exit(main(__file__))
"""


def write_small_wrapper(control: Path, job_id: int, arguments: Mapping[str, Any]) -> Path:
    """In place of `runner.wrapper.template.write_wrapper`."""
    script = control / f"Wrapper_{job_id}"
    script.with_suffix(".json").write_text(json.dumps(arguments))
    script.write_text(TEMPLATE.format(root=str(Path(__file__).resolve().parents[2])))
    return script


def main(script: str) -> int:
    """The wrapper's process."""
    control = Path(script).parent
    arguments = json.loads(Path(script).with_suffix(".json").read_text())
    behaviour, job_id = arguments["Job"]["JobName"], arguments["Jobspan"]["JobID"]
    if behaviour == "never":
        os.kill(os.getpid(), signal.SIGKILL)
    clock = SystemClock()
    with Journal(control, "wrapper", clock) as journal:
        bus = Bus(journal)
        cancel = Cancel(bus.emit)
        client = WmsClient(arguments["Jobspan"]["WMSURL"], FileToken(control / "job.token"), timeout_seconds=20.0)
        reporter = Reporter(control, client, job_id=job_id, clock=clock, cancel=cancel, emit=bus.emit)
        commands = ControlServer(control, cancel)
        commands.catch_signals()
        if behaviour == "stubborn":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with commands:
            bus.listen(reporter.wake)
            bus.emit(
                WrapperStarted(pid=os.getpid(), start_boottime_ns=clock.boottime_ns(), started_by="zygote", version="0")
            )
            bus.emit(StageStarted(stage="initialize", at_boottime_ns=clock.boottime_ns()))
            code = _act(behaviour, bus, cancel, reporter)
            client.close()
    return code


def _act(behaviour: str, bus: Bus, cancel: Cancel, reporter: Reporter) -> int:
    if behaviour == "away":
        bus.emit(StatusChanged(status="Running", minor_status="Job Initialization"))
        bus.emit(StatusChanged(status="Done", minor_status="Execution Complete"))
        bus.emit(AttemptEnded(status="Done", minor_status="Execution Complete"))
        return 0
    try:
        reporter.start()
    except LockHeld:
        return 9
    bus.emit(StatusChanged(status="Running", minor_status="Job Initialization"))
    reporter.confirm_running(60.0)
    if behaviour == "die":
        bus.emit(PayloadPlanned(starter_pid=0))
        os.kill(os.getpid(), signal.SIGKILL)
    if behaviour in ("pause", "stubborn"):
        cancel.wait(600.0)
    status, minor, error = _ending(cancel)
    if status != "Killed":
        bus.emit(StatusChanged(status=status, minor_status=minor))
    kept = reporter.close_attempt(status, minor, preempted=error == "preempted", timeout_seconds=60.0)
    bus.emit(AttemptEnded(status=kept[0], minor_status=kept[1], error_type=error))
    reporter.stop(60.0)
    return 0


def _ending(cancel: Cancel) -> tuple[str, str, str]:
    match cancel.cause and cancel.cause.origin:
        case "user":
            return "Killed", "Received Kill signal", "killed"
        case "signal":
            return "Rescheduled", "Job Rescheduled", "preempted"
    return "Done", "Execution Complete", ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
