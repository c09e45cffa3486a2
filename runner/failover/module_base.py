"""ModuleBase: what a module of a workflow is (DIRAC's Workflow/Modules), for use inside a payload.

`execute` calls five steps, in this order, and then `_finalize`:

    _resolve_input_variables  _initialize  _set_command  _execute_command  _execute

A step returns None for success. RuntimeError means that the module has failed, GracefulTermination
that it ends here and all is well. Whatever happens, `finalize` is called at the very end.
"""

import contextlib
import fcntl
import json
import logging
import os
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runner.errors import JobspanError
from runner.failover.reports import FileReport, JobReport
from runner.job.requests import CombinedRequest, Operation, combined, parse_request
from telemetry.facts import Scalar

#: What of an output must be known before it can be uploaded.
_MANDATORY = ("type", "workflowSE", "lfn")
_OUTPUT_KEYS = ("outputDataType", "outputDataSE", "outputDataName")


class GracefulTermination(Exception):
    """The module ends here, and all is well."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """What a module is told: the workflow's and the step's variables, and how both fare."""

    folder: Path
    #: 0: not a job of a WMS.
    job_id: int = 0
    production_id: int = 0
    prod_job_id: int = 0
    step_number: int = 0
    workflow_commons: Mapping[str, Any] = field(default_factory=dict)
    step_commons: Mapping[str, Any] = field(default_factory=dict)
    workflow_ok: bool = True
    step_ok: bool = True


@dataclass(frozen=True)
class ModuleResult:
    """How a module ended."""

    ok: bool
    message: str
    #: The second argument of the RuntimeError, where it had one.
    errno: int = 0


class ModuleBase:
    """Derive from this, and override the steps that the module needs; never `execute`."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self.log = logging.getLogger(f"jobspan.module.{type(self).__name__}")
        self.job_id = step.job_id
        self.input_data_list: list[str] = []
        self.step_name = ""
        self.command: tuple[str, ...] = ()
        self.job_report = JobReport(step.folder)
        self.file_report = FileReport()
        #: What shall be done when the job has ended, in order.
        self.operations: list[Operation] = []
        #: What of it stands in the request file already.
        self._left: tuple[Operation, ...] = ()

    def execute(self) -> ModuleResult:
        """Run the module."""
        steps: tuple[Callable[[], None], ...] = (
            self._resolve_input_variables,
            self._initialize,
            self._set_command,
            self._execute_command,
            self._execute,
            self._finalize,
        )
        try:
            for each in steps:
                _call(each)
        except GracefulTermination as end:
            self.set_application_status(str(end))
            self.log.info("%s", end)
            return ModuleResult(True, str(end))
        except RuntimeError as error:
            return self._failed(error)
        except Exception as error:  # noqa: BLE001 - a module's bug is a failure of its step, and is told as one
            self.log.warning("an error that the module did not expect: %s", traceback.format_exc())
            return self._failed(error)
        finally:
            self.finalize()
        return ModuleResult(True, "")

    def _resolve_input_variables(self) -> None:
        """First step: read what the workflow and the step say. Call this one from your own."""
        commons = self.step.workflow_commons
        given = commons.get("ParametricInputData") or commons.get("InputData") or ""
        names = given.split(";") if isinstance(given, str) else [str(each) for each in given]
        self.input_data_list = [name.strip().removeprefix("LFN:") for name in names if name.strip()]
        self.step_name = str(self.step.step_commons.get("STEP_INSTANCE_NAME", ""))

    def _initialize(self) -> None:
        """Second step: get ready."""

    def _set_command(self) -> None:
        """Third step: decide what to execute, into `command`."""

    def _execute_command(self) -> None:
        """Fourth step: execute `command`."""

    def _execute(self) -> None:
        """Fifth step: whatever else the module does."""

    def _finalize(self) -> None:
        """After the steps, if none failed: say how it went.

        Raises:
            GracefulTermination: always, unless overridden.
        """
        raise GracefulTermination(f"{type(self).__name__} correctly finalized")

    def finalize(self) -> None:
        """At the very end, whatever happened."""
        self.log.info("===== Terminating %s =====", type(self).__name__)

    @property
    def is_wms_job(self) -> bool:
        """Whether this runs as a job of a WMS, and not by hand."""
        return self.job_id > 0

    @property
    def all_is_well(self) -> bool:
        """Whether neither the workflow nor the step has failed so far."""
        return self.step.workflow_ok and self.step.step_ok

    def set_application_status(self, status: str, send_flag: bool = True) -> None:
        """Say how far the application is. Once something has failed, what was said of it stands."""
        if self.is_wms_job and self.all_is_well:
            self._report(lambda: self.job_report.set_application_status(status, send_flag))

    def set_job_parameter(self, name: str, value: Scalar, send_flag: bool = True) -> None:
        """Set a parameter of the job."""
        if self.is_wms_job:
            self._report(lambda: self.job_report.set_job_parameter(name, value, send_flag))

    def get_candidate_files(
        self,
        output_list: Sequence[Mapping[str, str]],
        output_lfns: Sequence[str],
        file_mask: str | Sequence[str] = "",
        step_mask: str | int | Sequence[str] = "",
    ) -> dict[str, dict[str, str]]:
        """The outputs to upload: by name, their type, storage element (workflowSE) and lfn.

        *output_list*: outputDataType, outputDataSE and outputDataName of each output. *file_mask*: only
        these types. *step_mask*: only files of these steps (`..._<step>.<extension>`).

        Raises:
            OSError: an output does not exist here. ValueError: one of those to upload has no LFN.
        """
        files: dict[str, dict[str, str]] = {}
        for each in output_list:
            if not all(key in each for key in _OUTPUT_KEYS):
                self.log.error("ignoring a malformed output: %s", dict(each))
                continue
            files[each["outputDataName"]] = {"type": each["outputDataType"], "workflowSE": each["outputDataSE"]}
        for lfn in output_lfns:
            name = lfn.rpartition("/")[2]
            if name in files:
                files[name]["lfn"] = lfn
        missing = [name for name in files if not os.path.exists(self.step.folder / name)]
        if missing:
            raise OSError(f"outputs that do not exist here: {', '.join(missing)}")
        chosen = _masked(files, _words(file_mask), _words(step_mask))
        incomplete = [f"{name} ({key})" for name, about in chosen.items() for key in _MANDATORY if key not in about]
        if incomplete:
            raise ValueError(f"outputs that cannot be uploaded, for something is not known: {', '.join(incomplete)}")
        return chosen

    def generate_failover_file(self) -> Path | None:
        """Add what is pending to `<production>_<task>_request.json`, for the wrapper; None: nothing is.

        In DIRAC the modules of a workflow share one Request. Here each is a process of its own, so what
        earlier ones have left in the file stays, before what this one adds.

        Raises:
            RuntimeError: the request would not be valid.
        """
        report = self.job_report.forwarded()
        operations = [*self.operations, *self.file_report.forwarded(), *([report] if report else [])]
        if not operations:
            return None
        name, path = f"job_{self.job_id}_request", self._request_file
        mine = CombinedRequest(name=name, job_id=self.job_id, operations=tuple(operations))
        with _alone_in(self.step.folder):
            earlier = CombinedRequest(name=name, job_id=self.job_id, operations=self.earlier_operations())
            try:
                request = combined(name, self.job_id, [earlier, mine], 0.0)
                text = json.dumps(request.to_mapping()).encode()
                self._left = parse_request(text, path.name).operations[len(earlier.operations) :]
            except JobspanError as error:
                raise RuntimeError(f"the failover request is not valid: {error}") from error
            _write(path, text)
        self.log.info("%s: %s", path.name, request.digest)
        return path

    def earlier_operations(self) -> tuple[Operation, ...]:
        """What earlier modules of this workflow have left to be done when the job has ended, in order."""
        try:
            request = parse_request(self._request_file.read_bytes(), self._request_file.name)
        except FileNotFoundError:
            return ()
        except JobspanError as error:
            self.log.warning("what is there is replaced: %s", error)
            return ()
        if request.job_id != self.job_id:
            self.log.warning("%s is of job %d, and is replaced", self._request_file.name, request.job_id)
            return ()
        count = len(request.operations) - len(self._left)
        return request.operations[:count] if request.operations[count:] == self._left else request.operations

    @property
    def _request_file(self) -> Path:
        return self.step.folder / f"{self.step.production_id}_{self.step.prod_job_id}_request.json"

    def _report(self, say: Callable[[], None]) -> None:
        """A report that cannot be written is kept for the request, and is no failure of the module."""
        try:
            say()
        except OSError as error:
            self.log.warning("cannot be reported now: %s", error)

    def _failed(self, error: Exception) -> ModuleResult:
        message = str(error.args[0]) if error.args else type(error).__name__
        self.log.error("%s", message)
        self.set_application_status(message)
        code = error.args[1] if isinstance(error, RuntimeError) and len(error.args) > 1 else 0
        return ModuleResult(False, message, code if isinstance(code, int) else 0)


def _call(step: Callable[[], object]) -> None:
    """A step that returns one of the two exceptions means it; one that returns anything else has not understood."""
    result = step()
    if isinstance(result, RuntimeError | GracefulTermination):
        raise result
    if result is not None:
        raise RuntimeError(f"{step.__name__} returned {type(result).__name__}; a step returns None")


def _words(mask: str | int | Sequence[str]) -> list[str]:
    words = [str(mask)] if isinstance(mask, str | int) else [str(each) for each in mask]
    return [word.lower() for word in words if word]


def _masked(files: Mapping[str, dict[str, str]], types: list[str], steps: list[str]) -> dict[str, dict[str, str]]:
    return {
        name: about
        for name, about in files.items()
        if (not types or about["type"].lower() in types)
        and (not steps or name.rpartition("_")[2].partition(".")[0].lower() in steps)
    }


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """No other module reads and writes the request of *folder* meanwhile, if its file system has locks."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _write(path: Path, text: bytes) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(text)
    part.replace(path)
