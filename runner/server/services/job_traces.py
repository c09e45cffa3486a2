"""JobTraces: the spans of a job, where an agent beside this WMS has written them."""

from runner.server.errors import InvalidRequestError, UnknownObjectError
from runner.server.services.context import ServiceContext
from runner.server.services.job_policy import Right, authorize
from runner.server.tokens import Identity
from telemetry.live.otlp_files import PAYLOAD, OtlpFiles
from telemetry.live.traces import JobTrace, job_trace

#: The WMS's own calls.
WMS_FILES = "wms-traces*.jsonl"
#: The files are read from their beginning: of larger ones, `jobspan trace` is the way.
MOST_BYTES = 256 << 20


class JobTraces:
    """Finds spans in the files of the folder."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self._traces = OtlpFiles(context.settings.telemetry).traces
        self._payloads = OtlpFiles(context.settings.telemetry, PAYLOAD).traces

    @property
    def are_kept(self) -> bool:
        """Whether there are any spans here."""
        return self._traces.is_file()

    def of_job(self, identity: Identity, job_id: int) -> JobTrace:
        """Its attempts that have ended, with all their spans, those of the WMS and of the payload itself.

        Raises:
            UnknownObjectError: there is no such job, or nothing of it here. InvalidRequestError: too much to read.
        """
        with self._context.databases.read() as transaction:
            if not authorize(transaction, identity, Right.READ_JOB, [job_id]):
                raise UnknownObjectError(f"Job {job_id} not found")
        beside = [*sorted(self._traces.parent.glob(WMS_FILES)), self._payloads]
        if sum(each.stat().st_size for each in (self._traces, *beside) if each.is_file()) > MOST_BYTES:
            raise InvalidRequestError(f"the files of spans are too long to look through here: jobspan trace {job_id}")
        found = job_trace(self._traces, job_id, wms_id=self._context.wms_id, beside=beside)
        if not found.attempts:
            raise UnknownObjectError(f"no spans of job {job_id} are here; they are written when an attempt has ended")
        return found
