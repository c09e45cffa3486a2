"""What a module has to say from inside a payload, where no WMS can be called.

The wrapper reads `job_report.jsonl` from the working directory; a file report travels as an
operation of the combined request.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from runner.job.requests import FORWARD_DISET, JOB_REPORT, SET_FILE_STATUS, Operation, is_plain
from telemetry.facts import Scalar

REPORT_FILE = "job_report.jsonl"
PROCESSED, UNUSED = "Processed", "Unused"


class JobReport:
    """Application status and parameters of the job, written at once or kept for later."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / REPORT_FILE
        self._application = ""
        self._parameters: dict[str, Scalar] = {}

    def set_application_status(self, status: str, send_flag: bool) -> None:
        """Say how far the application is; without *send_flag* with the next `commit`."""
        # Often the words of an error, in which any text may stand.
        self._application = status.encode("utf-8", "replace").decode().replace("\0", "?")
        if send_flag:
            self.commit()

    def set_job_parameter(self, name: str, value: Scalar, send_flag: bool) -> None:
        """Set a parameter of the job; without *send_flag* with the next `commit`.

        Raises:
            ValueError: it is none: the wrapper would leave it out.
        """
        if value is None or not is_plain(value) or not is_plain(name):
            raise ValueError(f"the parameter {name!r} is not a plain value, but {type(value).__name__} {value!r:.80}")
        self._parameters[name] = value
        if send_flag:
            self.commit()

    def commit(self) -> None:
        """Write what was kept.

        Raises:
            OSError: it cannot be written, and is still kept.
        """
        line = self._line()
        if not line:
            return
        with self._path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        self._application, self._parameters = "", {}

    def forwarded(self) -> Operation | None:
        """What could not be written, as an operation of the request; None: nothing is left."""
        try:
            self.commit()
        except OSError:
            return Operation(type=FORWARD_DISET, arguments={"Call": JOB_REPORT, **self._line()})
        return None

    def _line(self) -> dict[str, object]:
        line: dict[str, object] = {"ApplicationStatus": self._application} if self._application else {}
        return line | ({"Parameters": dict(self._parameters)} if self._parameters else {})


class FileReport:
    """What became of the files of a production."""

    def __init__(self) -> None:
        #: A file that is Processed already changes only by force.
        self.force = False
        self._statuses: dict[int, dict[str, str]] = {}

    def set_file_status(self, production_id: int, lfn: str, status: str) -> None:
        """*lfn* of that production has *status* now."""
        self._statuses.setdefault(production_id, {})[lfn] = status

    @property
    def files(self) -> Mapping[str, str]:
        """Status by logical name, of all productions."""
        return {lfn: status for each in self._statuses.values() for lfn, status in each.items()}

    def forwarded(self) -> list[Operation]:
        """The report, an operation for each production."""
        return [
            Operation(
                type=SET_FILE_STATUS,
                arguments={
                    "ProductionID": production_id,
                    "Statuses": [{"LFN": lfn, "Status": status} for lfn, status in statuses.items()],
                    "Force": self.force,
                },
            )
            for production_id, statuses in self._statuses.items()
            if statuses
        ]
