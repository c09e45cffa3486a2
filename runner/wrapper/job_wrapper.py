"""JobWrapper: six stages, always in order, with shared boundaries; the first problem decides the end."""

import logging
import os
import traceback
from collections.abc import Callable, Mapping

from runner import __version__
from runner.errors import FencedError, JobspanError
from runner.process.cancel import Cancelled
from runner.wrapper.attempt import Attempt, WrapperParts
from runner.wrapper.execute import execute
from runner.wrapper.finalize import finalize
from runner.wrapper.initialize import initialize
from runner.wrapper.input_data import resolve_input_data
from runner.wrapper.input_sandbox import transfer_input_sandbox
from runner.wrapper.job_report import JobReport
from runner.wrapper.outcome import ExitCode, Problem, StageFailed, problem_of
from runner.wrapper.outputs import process_job_outputs
from telemetry.facts import STAGES, StageFinished, StageName, StageStarted, WrapperStarted
from telemetry.journal import JournalFull

__all__ = ["JobWrapper", "WrapperParts"]

_STAGES: Mapping[StageName, Callable[[Attempt], None]] = {
    "initialize": initialize,
    "transfer_input_sandbox": transfer_input_sandbox,
    "resolve_input_data": resolve_input_data,
    "execute": execute,
    "process_job_outputs": process_job_outputs,
    "finalize": finalize,
}
#: Stages that do not begin for a job that was told to stop.
_STOPPABLE = STAGES[:4]
log = logging.getLogger("jobspan.wrapper")


class JobWrapper:
    """Takes one attempt of one job from the start of this process to its end."""

    def __init__(self, job_id: int, job_report: JobReport, parts: WrapperParts) -> None:
        self._attempt = Attempt(job_id, job_report, parts)
        self._parts = parts

    def run(self) -> int:
        """Run all stages; the exit code of the process (`ExitCode`). In the main thread, once."""
        parts = self._parts
        try:
            parts.emit(
                WrapperStarted(
                    pid=os.getpid(),
                    start_boottime_ns=parts.start_boottime_ns,
                    started_by=parts.started_by,
                    version=__version__,
                )
            )
            parts.watchdog.start()
            boundary_ns = parts.start_boottime_ns
            for stage in STAGES:
                boundary_ns = self._stage(stage, boundary_ns)
        except JournalFull:
            log.exception("the journal takes no more facts; whoever takes the job's lock closes the attempt")
        finally:
            parts.progress.over = True
            parts.watchdog.stop()
            parts.payload.settle()
        return self._attempt.end.exit_code if self._attempt.end else ExitCode.JOBWRAPPER_EXCEPTION

    def _stage(self, stage: StageName, start_ns: int) -> int:
        """Run one stage, or skip it; its end, which is the start of the next."""
        parts = self._parts
        parts.emit(StageStarted(stage=stage, at_boottime_ns=start_ns))
        parts.progress.stage = stage
        parts.watchdog.enter_stage(stage)
        if not self._is_due(stage):
            parts.emit(StageFinished(stage=stage, at_boottime_ns=start_ns, result="skip"))
            return start_ns
        problem = self._run(stage)
        if problem is not None:
            self._failed(problem)
        end_ns = parts.clock.boottime_ns()
        parts.emit(
            StageFinished(
                stage=stage,
                at_boottime_ns=end_ns,
                result=problem.result if problem else "success",
                error_type=problem.error_type if problem else "",
                message=problem.message if problem else "",
            )
        )
        return end_ns

    def _is_due(self, stage: StageName) -> bool:
        attempt, description = self._attempt, self._parts.arguments.description
        if stage in ("initialize", "finalize"):
            return True
        if stage == "process_job_outputs":
            wanted = bool(description.output_sandbox or description.output_data)
            return wanted and attempt.has_folder and not self._parts.cancel.said("fence")
        needed = {
            "transfer_input_sandbox": bool(description.input_sandbox),
            "resolve_input_data": bool(description.input_data),
        }
        return attempt.problem is None and needed.get(stage, True)

    def _run(self, stage: StageName) -> Problem | None:
        try:
            if stage in _STOPPABLE:
                self._parts.cancel.check()
            _STAGES[stage](self._attempt)
        except JournalFull:
            raise
        except (Cancelled, StageFailed) as error:
            return problem_of(stage, error)
        except FencedError as error:
            self._parts.cancel.request("fence", str(error))
            return problem_of(stage, error)
        except (JobspanError, OSError) as error:
            log.warning("%s failed: %s", stage, error)
            return problem_of(stage, error)
        except Exception as error:  # noqa: BLE001 - also a bug, ours or a community's, ends the attempt in order
            log.warning("%s failed: %s", stage, traceback.format_exc())
            return problem_of(stage, error)
        return None

    def _failed(self, problem: Problem) -> None:
        self._attempt.failed(problem)
        if problem.kind in ("transient", "permanent") and problem.stage != "finalize":
            name = "ApplicationError" if problem.stage == "execute" else "Error Message"
            self._attempt.report.set_job_parameter(name, problem.message)
