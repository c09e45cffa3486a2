"""Combined requests on the wire: our own routes for them, as the runner and the executor call them."""

from collections.abc import Mapping, Sequence
from typing import Any

from runner.job.requests import ClaimedRequest, OperationOutcome
from runner.wms import checked
from runner.wms.dialect import DiracxDialect

_REQUESTS = "/api/jobspan/requests"


class RequestCalls(DiracxDialect):
    """The calls about requests and file statuses."""

    def put_request(self, document: Mapping[str, Any]) -> int:
        """Hand in the request of the job whose token this client shows; its number. Repeating it is harmless."""
        answer = self._call("POST", _REQUESTS, body=dict(document))
        return checked.whole(checked.mapping(answer.body, "answer").get("RequestID"), "RequestID", least=1)

    def requests(
        self, job_id: int | None = None, status: str = "", *, page: int = 1, per_page: int = 100
    ) -> list[Mapping[str, Any]]:
        """Requests that we may see, the oldest first."""
        query: dict[str, str | int] = {"page": page, "per_page": per_page}
        query |= ({} if job_id is None else {"job_id": job_id}) | ({"status": status} if status else {})
        body = checked.mapping(self._call("GET", _REQUESTS, query=query).body, "requests")
        return [checked.mapping(each, "request") for each in checked.items(body.get("Requests"), "Requests")]

    def request(self, request_id: int) -> Mapping[str, Any]:
        """One request with its Operations."""
        path = _REQUESTS + "/{id}"
        answer = self._call("GET", path.replace("{id}", str(request_id)), template=path)
        return checked.mapping(answer.body, "request")

    def claim_request(
        self, request_ids: Sequence[int] | None = None, without: Sequence[int] = ()
    ) -> ClaimedRequest | None:
        """A request that is due, for us alone; None when there is none.

        Those of *request_ids* are due at once; those *without* we have tried already.
        """
        body = {"RequestIDs": None if request_ids is None else list(request_ids), "Without": list(without)}
        answer = self._call("POST", f"{_REQUESTS}/claim", body=body, repeatable=False)
        given = checked.mapping(answer.body, "answer").get("Request")
        return None if given is None else _claimed(checked.mapping(given, "request"))

    def renew_request(self, request: ClaimedRequest) -> None:
        """Keep the claim for another lease. Raises RefusedError when it is over."""
        self._request_call(request, "/renew", {"Claim": request.claim})

    def report_operation(self, request: ClaimedRequest, order: int, outcome: OperationOutcome, error: str = "") -> str:
        """Say what became of an operation; the request's status then. Raises RefusedError when the claim is over."""
        body = {"Claim": request.claim, "Outcome": outcome, "Error": error}
        answer = self._request_call(request, f"/operations/{order}", body)
        return checked.text(checked.mapping(answer, "answer").get("Status"), "Status")

    def set_file_statuses(self, report: Mapping[str, Any]) -> int:
        """Deliver a file report (JobID, Attempt, ProductionID, Statuses, Force); how many files have changed."""
        answer = self._call("POST", "/api/jobspan/file-status", body=dict(report))
        return checked.whole(checked.mapping(answer.body, "answer").get("Changed"), "Changed")

    def file_statuses(
        self, job_id: int | None = None, *, page: int = 1, per_page: int = 1000
    ) -> list[Mapping[str, Any]]:
        """What became of the files of productions, as far as we may see."""
        query = {"page": page, "per_page": per_page} | ({} if job_id is None else {"job_id": job_id})
        body = checked.mapping(self._call("GET", "/api/jobspan/file-status", query=query).body, "file statuses")
        return [checked.mapping(each, "file") for each in checked.items(body.get("Files"), "Files")]

    def _request_call(self, request: ClaimedRequest, rest: str, body: Mapping[str, object]) -> object:
        path = f"{_REQUESTS}/{request.request_id}{rest}"
        template = _REQUESTS + "/{id}" + ("/operations/{order}" if "operations" in rest else rest)
        return self._call("POST", path, template=template, body=body).body


def _claimed(given: Mapping[str, Any]) -> ClaimedRequest:
    lease = given.get("LeaseSeconds")
    if isinstance(lease, bool) or not isinstance(lease, int | float) or not 0 < lease < 86400:
        raise checked.NonsenseError("LeaseSeconds is not a number of seconds")
    operations = [checked.mapping(each, "operation") for each in checked.items(given.get("Operations"), "Operations")]
    return ClaimedRequest(
        request_id=checked.whole(given.get("RequestID"), "RequestID", least=1),
        name=checked.text(given.get("RequestName"), "RequestName"),
        job_id=checked.whole(given.get("JobID"), "JobID", least=1),
        attempt=checked.whole(given.get("Attempt"), "Attempt", least=1),
        claim=checked.text(given.get("Claim"), "Claim"),
        lease_seconds=float(lease),
        operations=operations,
    )
