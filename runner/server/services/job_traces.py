"""JobTraces: the spans of a job, where an agent beside this WMS has written them."""

from collections.abc import Mapping, Sequence
from typing import Any

from runner.server.errors import InvalidRequestError, UnknownObjectError
from runner.server.services.context import ServiceContext
from runner.server.services.job_policy import Right, authorize
from runner.server.tokens import Identity
from telemetry.live.otlp_files import OtlpFiles
from telemetry.live.traces import job_trace, trace_values

#: The file is read from its beginning: of a larger one, `jobspan trace` is the way.
MOST_BYTES = 256 << 20


class JobTraces:
    """Finds spans in the files of the folder."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self._traces = OtlpFiles(context.settings.telemetry).traces

    @property
    def are_kept(self) -> bool:
        """Whether there are any spans here."""
        return self._traces.is_file()

    def of_job(self, identity: Identity, job_id: int) -> Sequence[Mapping[str, Any]]:
        """Its attempts that have ended, with all their spans, as `telemetry.live.traces.trace_values` has them.

        Raises:
            UnknownObjectError: there is no such job, or nothing of it here. InvalidRequestError: too much to read.
        """
        with self._context.databases.read() as transaction:
            if not authorize(transaction, identity, Right.READ_JOB, [job_id]):
                raise UnknownObjectError(f"Job {job_id} not found")
        if self.are_kept and self._traces.stat().st_size > MOST_BYTES:
            raise InvalidRequestError(f"the file of spans is too long to look through here: jobspan trace {job_id}")
        found = trace_values(job_trace(self._traces, job_id, wms_id=self._context.wms_id))
        if not found["attempts"]:
            raise UnknownObjectError(f"no spans of job {job_id} are here; they are written when an attempt has ended")
        attempts: Sequence[Mapping[str, Any]] = found["attempts"]
        return attempts
