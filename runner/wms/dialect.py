"""DiracX's REST dialect, as far as a runner needs it: paths, bodies and codes are DiracX 0.7's."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from runner.errors import NotFoundError, RefusedError
from runner.job.status import JobStatus
from runner.wms import answers, checked
from runner.wms.transport import Answer, Request, Transport
from telemetry.clock import NANOSECONDS, utc_text
from telemetry.facts import Scalar

#: What DiracX's database columns hold; longer ones are HTTP 500 there.
LONGEST_MINOR_STATUS = 128
LONGEST_APPLICATION_STATUS = 255
#: Parameters that DiracX types as integers; it would truncate a float, we round.
WHOLE_PARAMETERS = frozenset(
    {"CPUNormalizationFactor", "NormCPUTime(s)", "TotalCPUTime(s)", "Memory(MB)", "PayloadPID"}
)
_LONGEST = {"MinorStatus": LONGEST_MINOR_STATUS, "ApplicationStatus": LONGEST_APPLICATION_STATUS}
_EVERY_ANSWER = frozenset({200, 206, 416})


class DiracxDialect:
    """The calls that every DiracX server knows."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    @property
    def transport(self) -> Transport:
        """What carries the calls; transfers to presigned addresses use its settings."""
        return self._transport

    @property
    def url(self) -> str:
        """The address of the WMS."""
        return self._transport.url

    @property
    def clock_offset_seconds(self) -> float:
        """WMS minus node; 0 while both may agree, for all that the answers' dates tell."""
        return self._transport.offset.nanoseconds / NANOSECONDS

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()

    def userinfo(self) -> Mapping[str, Any]:
        """As whom the WMS knows the bearer of our token."""
        return checked.mapping(self._call("GET", "/api/auth/userinfo").body, "userinfo")

    def submit(self, jdls: Sequence[str], *, traceparent: str = "") -> list[answers.SubmittedJob]:
        """Hand in job descriptions; the jobs in the same order. *traceparent* is the submit span's.

        A parametric description, which makes several jobs, is handed in alone.
        """
        headers = {"traceparent": traceparent} if traceparent else {}
        answer = self._call("POST", "/api/jobs/jdl", body=list(jdls), headers=headers, repeatable=False)
        jobs = [answers.submitted_job(each) for each in checked.items(answer.body, "jobs")]
        if len(jobs) < len(jdls) or (len(jobs) > len(jdls) != 1):
            raise checked.NonsenseError(f"{len(jobs)} jobs for {len(jdls)} descriptions")
        return jobs

    def search(
        self,
        parameters: Sequence[str] | None,
        conditions: Sequence[Mapping[str, object]] = (),
        *,
        sort: Sequence[Mapping[str, str]] = (),
        page: int = 1,
        per_page: int = 100,
    ) -> list[Mapping[str, Any]]:
        """Jobs that fulfil all *conditions* (parameter, operator, value or values); None gives every column."""
        body = {
            "parameters": list(parameters) if parameters is not None else None,
            "search": [dict(each) for each in conditions],
            "sort": [dict(each) for each in sort],
        }
        query = {"page": page, "per_page": per_page}
        answer = self._call("POST", "/api/jobs/search", body=body, query=query, answers=_EVERY_ANSWER)
        return [checked.mapping(each, "job") for each in checked.items(answer.body, "jobs")]

    def set_statuses(
        self, job_id: int, updates: Mapping[str, Mapping[str, str]], *, force: bool = False
    ) -> answers.KeptStatus:
        """Report *updates* (UTC text -> Status, MinorStatus, ApplicationStatus, Source); what the WMS keeps.

        Raises:
            NotFoundError: no such job.
        """
        body = {str(job_id): cut(updates)}
        query = {"force": "true"} if force else {}
        answer = self._call("PATCH", "/api/jobs/status", body=body, query=query, answers=frozenset({200, 404}))
        outcome = checked.mapping(answer.body, "answer")
        outcome = checked.mapping(outcome["detail"], "detail") if isinstance(outcome.get("detail"), dict) else outcome
        kept = checked.mapping(outcome.get("success", {}), "success").get(str(job_id))
        if kept is not None:
            return answers.kept_status(kept)
        failed = checked.mapping(outcome.get("failed", {}), "failed").get(str(job_id))
        reason = answers.failure(failed) if failed is not None else str(outcome.get("detail", "Not found"))[:200]
        raise NotFoundError(f"the WMS did not update job {job_id}: {reason}", status_code=404)

    def kill(self, job_id: int, utc_ns: int) -> answers.KeptStatus:
        """The user's order to end *job_id*, dated *utc_ns* by the WMS's clock."""
        update = {"Status": str(JobStatus.KILLED), "MinorStatus": "Marked for termination", "Source": "JobManager"}
        return self.set_statuses(job_id, {utc_text(utc_ns): update})

    def heartbeat(self, job_id: int, values: Mapping[str, Scalar]) -> list[answers.JobCommand]:
        """Say that *job_id* lives, with its numbers; the commands that wait for it."""
        answer = self._call("PATCH", "/api/jobs/heartbeat", body={str(job_id): checked.finite(values)})
        return [answers.job_command(each) for each in checked.items(answer.body, "commands")]

    def set_parameters(self, job_id: int, parameters: Mapping[str, Scalar]) -> None:
        """Set job parameters, under DIRAC's names."""
        self._call("PATCH", "/api/jobs/metadata", body={str(job_id): typed(parameters)})

    def reschedule(self, job_ids: Sequence[int], *, preempted: bool = False) -> answers.Reschedulings:
        """Ask for the next attempt; a *preempted* one does not count against MaxRescheduling."""
        query = {"preempted": "true"} if preempted else {}
        answer = self._call(
            "POST",
            "/api/jobs/reschedule",
            body={"job_ids": list(job_ids)},
            query=query,
            answers=frozenset({200, 400}),
            repeatable=False,
        )
        if answer.status_code == 400 and not isinstance(answer.body.get("detail"), dict):
            raise RefusedError(f"the WMS refused it (HTTP 400): {str(answer.body)[:200]}", status_code=400)
        return answers.reschedulings(answer.body)

    def request_upload(self, checksum: str, size_bytes: int, format: str) -> answers.SandboxSlot:
        """Where to put a sandbox of *size_bytes* with this sha256 (hex); *format* as in tar.bz2."""
        body = {"checksum_algorithm": "sha256", "checksum": checksum, "size": size_bytes, "format": format}
        return answers.sandbox_slot(self._call("POST", "/api/jobs/sandbox", body=body).body)

    def request_download(self, pfn: str) -> str:
        """The address from which the sandbox *pfn* can be fetched for some minutes, without a token."""
        answer = self._call("GET", "/api/jobs/sandbox", query={"pfn": pfn})
        return checked.text(checked.mapping(answer.body, "sandbox").get("url"), "url")

    def assign_output(self, job_id: int, pfn: str) -> None:
        """Make *pfn* the output sandbox of *job_id*; the same once more is no error.

        DiracX answers a repetition with HTTP 400; that is success, also across attempts with the same output.
        """
        try:
            self._call(
                "PATCH", f"/api/jobs/{job_id}/sandbox/output", template="/api/jobs/{id}/sandbox/output", body=pfn
            )
        except RefusedError as error:
            if error.status_code != 400 or "already assigned" not in str(error):
                raise

    def sandboxes(self, job_id: int, kind: str) -> list[str]:
        """The "input" or "output" sandboxes of *job_id*, oldest first."""
        path = "/api/jobs/{id}/sandbox/" + quote(kind)
        answer = self._call("GET", path.replace("{id}", str(job_id)), template=path)
        return [checked.text(each, "sandbox") for each in checked.items(answer.body, "sandboxes") if each is not None]

    def register_pilot(self, stamp: str, *, vo: str, reference: str, site: str) -> None:
        """Introduce this agent; the same stamp once more is no error."""
        body = {
            "pilot_stamp": stamp,
            "vo": vo,
            "grid_type": "DIRAC",
            "grid_site": site,
            "destination_site": site,
            "pilot_reference": reference,
            "pilot_status": "Running",
        }
        try:
            self._call("POST", "/api/pilots/", body=body)
        except RefusedError as error:
            if error.status_code != 409:
                raise

    def update_pilot(self, stamp: str, fields: Mapping[str, Scalar]) -> None:
        """Change what the WMS knows of a pilot, such as its Status."""
        self._call("PATCH", "/api/pilots/metadata", body={stamp: dict(fields)})

    def _call(self, method: str, path: str, **more: Any) -> Answer:
        return self._transport.call(Request(method=method, path=path, **more))


def cut(updates: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    """Status *updates* with texts no longer than the WMS's columns."""
    return {
        moment: {name: value[: _LONGEST.get(name, len(value))] for name, value in update.items()}
        for moment, update in updates.items()
    }


def typed(parameters: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Job *parameters* as the WMS types them; numbers that are none are left out."""
    return {
        name: round(value) if name in WHOLE_PARAMETERS and isinstance(value, float) else value
        for name, value in checked.finite(parameters).items()
    }
