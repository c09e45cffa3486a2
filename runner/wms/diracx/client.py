"""What a user and a tool ask of a WMS, asked of a DiracX server: its dialect, and words for what it has not."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from runner.config import HttpConfig
from runner.errors import NotFoundError
from runner.job.description import parse
from runner.job.parametric import expand
from runner.job.status import JobStatus
from runner.wms import answers, checked
from runner.wms.client import EVER, Ended, WmsClient
from runner.wms.diracx.descriptions import Descriptions, check_readable
from runner.wms.tokens import TokenSource
from runner.wms.transport import Answer, HttpCall
from telemetry.clock import NANOSECONDS, Clock, SystemClock, parse_utc, utc_text
from telemetry.identity import attempt_uid, diracx_wms_id

PAGE = 500
#: DiracX takes no more jobs of a normal user in one call.
MOST_AT_ONCE = 20
MOST_PARAMETERS = 1000
#: Calls that only our own WMS has, and what a user is told who asks a DiracX server for them.
OURS = "/api/jobspan/"
_LACKING = {
    "accounting": "accounting: set AccountingURL in [WMS], or read the telemetry of the site",
    "jobs/{id}/parameters": "call that reads the parameters of a job",
    "jobs/{id}/peek": "call that shows what a running job writes; the agent that runs it does",
    "requests": "service for requests, so that nothing can be left to be done after the end of a job",
    "catalog": "file catalogue, so that a job there has no input or output data",
}
#: The end of an attempt, for a witness. When a job that was killed has really ended, DiracX is not told.
_ENDS = frozenset({JobStatus.DONE, JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.RESCHEDULED})
COLUMNS = ("JobID", "Owner", "VO", "Status", "MinorStatus", "RescheduleCounter", "LoggingInfo")


class DiracxClient(WmsClient):
    """One DiracX server, seen with the token of a job's owner. Safe from several threads; not across a fork."""

    def __init__(
        self,
        url: str,
        token: TokenSource,
        descriptions: Descriptions,
        *,
        http: HttpConfig | None = None,
        timeout_seconds: float = 10.0,
        observe: Callable[[HttpCall], None] | None = None,
    ) -> None:
        """Nothing is sent yet.

        Raises:
            ConfigError: *url* is no address of a WMS.
        """
        super().__init__(url, token, http=http, timeout_seconds=timeout_seconds, observe=observe)
        self._descriptions = descriptions
        self._clock: Clock = SystemClock()
        self._wms_id = ""

    @property
    def wms_id(self) -> str:
        """Of this server and the VO of our token; asked for once."""
        if not self._wms_id:
            well_known = self._call("GET", "/.well-known/openid-configuration", authorized=False).body
            issuer = checked.text(checked.mapping(well_known, "configuration").get("issuer"), "issuer")
            self._wms_id = diracx_wms_id(issuer, checked.text(self.userinfo().get("vo"), "vo"))
        return self._wms_id

    def userinfo(self) -> Mapping[str, Any]:
        """Whose token ours is."""
        return checked.mapping(self._call("GET", "/api/auth/userinfo").body, "user")

    def now_utc_ns(self) -> int:
        """Now, by the server's clock as far as its answers tell."""
        return self._clock.utc_ns() + round(self.clock_offset_seconds * NANOSECONDS)

    def info(self) -> Mapping[str, Any]:
        """As our own WMS says it, from what DiracX tells; needs a token."""
        return {"WMSID": self.wms_id, "Version": "DiracX", "Time": utc_text(self.now_utc_ns())}

    def submit(self, jdls: Sequence[str], *, traceparent: str = "") -> list[answers.SubmittedJob]:
        """Hand in job descriptions, and keep them in this folder: DiracX never gives them back.

        A parametric one is handed in as the jobs that it stands for: those that DiracX makes of one stay Submitting.

        Raises:
            DescriptionError: DiracX could not read one of them; nothing was submitted.
        """
        described = [job for jdl in jdls for job in expand(parse(jdl), MOST_PARAMETERS)]
        for each in described:
            check_readable(each)
        made: list[answers.SubmittedJob] = []
        for start in range(0, len(described), MOST_AT_ONCE):
            part = described[start : start + MOST_AT_ONCE]
            jobs = super().submit([each.to_jdl() for each in part], traceparent=traceparent)
            for job, description in zip(jobs, part, strict=True):
                self._descriptions.keep(job.job_id, description.with_job_id(job.job_id))
            made += jobs
        return made

    def description(self, job_id: int) -> tuple[Mapping[str, Any], str]:
        """The description that was submitted from this folder."""
        kept = self._descriptions.of(job_id)
        return kept.to_mapping(), kept.to_jdl()

    def kill(self, job_id: int, utc_ns: int) -> answers.KeptStatus:
        """The user's order to end *job_id*. A node whose clock is ahead may have dated its reports into the future,
        and DiracX would only log the order: then it is dated after them."""
        kept = super().kill(job_id, utc_ns)
        if kept.status:
            return kept
        return super().kill(job_id, max(utc_ns, last_record_ns(self.row(job_id))) + NANOSECONDS)

    def rows(self, job_ids: Sequence[int], columns: Sequence[str] = COLUMNS) -> dict[int, Mapping[str, Any]]:
        """What the server has of *job_ids*, by job."""
        condition = {"parameter": "JobID", "operator": "in", "values": list(job_ids)}
        found = self.search(columns, [condition], per_page=len(job_ids))
        return {checked.whole(row.get("JobID"), "JobID", least=1): row for row in found}

    def row(self, job_id: int, columns: Sequence[str] = COLUMNS) -> Mapping[str, Any]:
        """What the server has of one job.

        Raises:
            NotFoundError: nothing.
        """
        found = self.rows([job_id], columns).get(job_id)
        if found is None:
            raise NotFoundError(f"there is no job {job_id}", status_code=404)
        return found

    def check_may_read(self, job_id: int) -> None:
        """Raises an error unless our token may read this job: on DiracX, its sandboxes."""
        self.sandboxes(job_id, "output")

    def witness(
        self, job_id: int | None = None, ended: Ended = EVER, *, per_page: int = PAGE
    ) -> Iterator[Mapping[str, Any]]:
        """What the server saw of the present attempts of this folder's jobs; of earlier ones it keeps no account."""
        wanted = self._descriptions.known() if job_id is None else [job_id]
        for start in range(0, len(wanted), per_page):
            rows = self.rows(wanted[start : start + per_page])
            for row in rows.values():
                seen = _witnessed(row, self.wms_id)
                if _within(seen["EndTime"], ended):
                    yield seen

    def _call(self, method: str, path: str, **more: Any) -> Answer:
        if path.startswith(OURS):
            kind = more.get("template", path).removeprefix(OURS).partition("?")[0]
            what = next((words for start, words in _LACKING.items() if kind.startswith(start)), "such call")
            raise NotFoundError(f"a DiracX server has no {what}", status_code=404)
        return super()._call(method, path, **more)


def _within(end: str | None, ended: Ended) -> bool:
    start, stop = (parse_utc(each) if each else None for each in ended)
    if start is None and stop is None:
        return True
    end_ns = None if end is None else parse_utc(end)
    return end_ns is not None and (start is None or start <= end_ns) and (stop is None or end_ns < stop)


def last_record_ns(row: Mapping[str, Any]) -> int:
    """When the newest record of a job is dated, in whole seconds on MySQL: what is dated before it is only logged."""
    return max((parse_utc(str(each["StatusTime"])) for each in row.get("LoggingInfo") or ()), default=0)


def _witnessed(row: Mapping[str, Any], wms_id: str) -> dict[str, Any]:
    job_id, attempt = int(row["JobID"]), int(row.get("RescheduleCounter") or 0) + 1
    log = [each for each in row.get("LoggingInfo") or () if isinstance(each, Mapping)]
    # Of earlier attempts, too: this one begins after the last time that the job came back.
    received = [number for number, each in enumerate(log) if each.get("Status") == JobStatus.RECEIVED]
    log = log[received[-1] :] if received else log
    running = next((each for each in log if each.get("Status") == JobStatus.RUNNING), None)
    end = next((each for each in log if each.get("Status") in _ENDS), None)
    return {
        "UID": attempt_uid(wms_id, job_id, attempt),
        "JobID": job_id,
        "Attempt": attempt,
        "Status": row["Status"],
        "MinorStatus": row["MinorStatus"],
        "RunningTime": _time(running),
        "EndTime": _time(end),
        "LastHeartbeat": None,
        "PilotStamp": "",
        "Owner": row["Owner"],
    }


def _time(entry: Mapping[str, Any] | None) -> str | None:
    return utc_text(parse_utc(str(entry["StatusTime"]))) if entry else None
