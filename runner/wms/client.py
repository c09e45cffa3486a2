"""The WMS as the runner and its users call it: DiracX's dialect and our own routes beside it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from runner.config import HttpConfig
from runner.wms import answers, checked
from runner.wms.dialect import DiracxDialect, cut, typed
from runner.wms.operations import OperationCalls
from runner.wms.requests import RequestCalls
from runner.wms.tokens import TokenSource
from runner.wms.transport import HttpCall, Transport
from telemetry.clock import Clock
from telemetry.facts import Scalar
from telemetry.ledger.fingerprint import HourDigest

_JOBS = "/api/jobspan/jobs/{id}"
#: Whoever asks page after page of a WMS that never ends is being fooled.
MOST_PAGES = 100_000
#: From the first moment on, before the second one (ISO 8601 with a zone); empty: without that bound.
Ended: TypeAlias = tuple[str, str]
EVER: Ended = ("", "")


class WmsClient(RequestCalls, OperationCalls, DiracxDialect):
    """One WMS, seen with one token. Safe from several threads; not across a fork."""

    #: The WMS has told the pilot of this client to stop.
    is_told_to_stop = False

    def __init__(
        self,
        url: str,
        token: TokenSource | None,
        *,
        http: HttpConfig | None = None,
        timeout_seconds: float = 10.0,
        observe: Callable[[HttpCall], None] | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Nothing is sent yet. *observe* is told every call, for sub-spans.

        Raises:
            ConfigError: *url* is no address of a WMS.
        """
        super().__init__(
            Transport(
                url, token, http=http or HttpConfig(), timeout_seconds=timeout_seconds, observe=observe, clock=clock
            )
        )

    def info(self) -> Mapping[str, Any]:
        """WMSID, Version and Time of the WMS; needs no token."""
        answer = self._call("GET", "/api/jobspan/info", authorized=False)
        info = checked.mapping(answer.body, "info")
        checked.text(info.get("WMSID"), "WMSID")
        return info

    def match(self, offer: Mapping[str, object], wait_seconds: float) -> answers.MatchedJob | None:
        """Ask for a job that fits *offer*, waiting at most *wait_seconds* for one."""
        body = {**offer, "WaitSeconds": wait_seconds}
        answer = self._call("POST", "/api/jobspan/match", body=body, patience_seconds=wait_seconds, repeatable=False)
        self._hear_stop(answer.body)
        return answers.matched_job(answer.body)

    def renew_job_token(self, job_id: int, claim: str = "") -> tuple[str, int]:
        """A new token for the job whose token this client shows, and its end (UTC nanoseconds).

        *claim* names this execution: of two of one attempt the first to report Running fences off the other.
        """
        answer = self._job_call("POST", job_id, "/token", {"Claim": claim} if claim else None)
        return checked.text(answer.get("JobToken"), "JobToken"), checked.utc_ns(
            answer.get("JobTokenExpires"), "JobTokenExpires"
        )

    def report(
        self,
        job_id: int,
        statuses: Mapping[str, Mapping[str, str]],
        parameters: Mapping[str, Scalar],
        heartbeat: Mapping[str, Scalar] | None,
        claim: str = "",
    ) -> answers.ReportAnswer:
        """Statuses (as in `set_statuses`), parameters and heartbeat in one call: taken all, or none.

        A *claim* names this execution, as in `renew_job_token`; the answer then has the token with it.
        """
        body: dict[str, object] = {"Statuses": cut(statuses), "Parameters": typed(parameters)}
        if heartbeat is not None:
            body["Heartbeat"] = checked.finite(heartbeat)
        if claim:
            body["Claim"] = claim
        return answers.report_answer(self._job_call("POST", job_id, "/report", body))

    def commands(self, stamp: str, jobs: Sequence[tuple[int, int]], wait_seconds: float) -> list[answers.Command]:
        """Commands for *jobs* (JobID, Attempt) of the pilot *stamp*, waiting at most *wait_seconds* for one."""
        body = {
            "PilotStamp": stamp,
            "Jobs": [{"JobID": job_id, "Attempt": attempt} for job_id, attempt in jobs],
            "WaitSeconds": wait_seconds,
        }
        answer = self._call("POST", "/api/jobspan/commands", body=body, patience_seconds=wait_seconds)
        self._hear_stop(answer.body)
        given = checked.mapping(answer.body, "answer").get("Commands")
        return [answers.command(each) for each in checked.items(given, "Commands")]

    def acknowledge_commands(self, command_ids: Sequence[int]) -> None:
        """These commands were carried out, or can never be; they are not given out again."""
        self._call("POST", "/api/jobspan/commands/ack", body={"CommandIDs": list(command_ids)})

    def send_accounting(self, records: Sequence[Mapping[str, object]]) -> list[answers.AccountingResult]:
        """Deliver accounting records; what became of each, in their order."""
        body = {"Records": [dict(each) for each in records]}
        answer = self._call("POST", "/api/jobspan/accounting", body=body)
        results = checked.items(checked.mapping(answer.body, "answer").get("Results"), "Results")
        if len(results) != len(records):
            raise checked.NonsenseError(f"{len(results)} results for {len(records)} records")
        return [answers.accounting_result(each) for each in results]

    def accounting(self, job_id: int | None = None, *, page: int = 1, per_page: int = 1000) -> answers.AccountingPage:
        """One page of the records that we may see, of one job or of all."""
        query = {"page": page, "per_page": per_page} | ({} if job_id is None else {"job_id": job_id})
        return answers.accounting_page(self._call("GET", "/api/jobspan/accounting", query=query).body)

    def all_accounting(self, job_id: int | None = None, *, per_page: int = 1000) -> answers.AccountingPage:
        """All pages in one."""
        records: list[Mapping[str, Any]] = []
        for number in range(1, MOST_PAGES):
            page = self.accounting(job_id, page=number, per_page=per_page)
            records += page.records
            if len(page.records) < per_page:
                return answers.AccountingPage(records, page.superseded, page.duplicates, page.conflicts)
        raise checked.NonsenseError("accounting without end")

    def accounting_history(
        self, job_id: int | None = None, ended: Ended = EVER, *, per_page: int = 1000
    ) -> Iterator[answers.PastRecord]:
        """All records that the WMS holds of attempts that *ended* then, those that another has superseded too."""
        for each in self._pages("/api/jobspan/accounting/history", "History", job_id, ended, per_page):
            yield answers.past_record(each)

    def accounting_digests(self, ended: Ended = EVER) -> list[HourDigest]:
        """Digests of the records that count, of each hour in which attempts *ended*."""
        query = {key: value for key, value in zip(("start", "end"), ended, strict=True) if value}
        body = self._call("GET", "/api/jobspan/accounting/digests", query=query).body
        found = checked.items(checked.mapping(body, "answer").get("Digests"), "Digests")
        return [answers.hour_digest(each) for each in found]

    def witness(
        self, job_id: int | None = None, ended: Ended = EVER, *, per_page: int = 1000
    ) -> Iterator[Mapping[str, Any]]:
        """What the WMS itself saw of each attempt that *ended* then: statuses, times by its own clock, heartbeat."""
        for each in self._pages("/api/jobspan/witness", "Attempts", job_id, ended, per_page):
            yield checked.mapping(each, "attempt")

    def _pages(self, path: str, name: str, job_id: int | None, ended: Ended, per_page: int) -> Iterator[Any]:
        given = {"job_id": job_id, "start": ended[0], "end": ended[1]}
        query = {key: value for key, value in given.items() if value}
        for number in range(1, MOST_PAGES):
            body = self._call("GET", path, query={**query, "page": number, "per_page": per_page}).body
            page = checked.items(checked.mapping(body, "answer").get(name), name)
            yield from page
            if len(page) < per_page:
                return
        raise checked.NonsenseError(f"{name} without end")

    def parameters(self, job_id: int) -> Mapping[str, Scalar]:
        """The parameters of a job."""
        return self._job_call("GET", job_id, "/parameters")

    def check_may_read(self, job_id: int) -> None:
        """Raises an error unless our token may read this job."""
        self.parameters(job_id)

    def peek(self, job_id: int) -> answers.Peek:
        """The last lines of a job's output, as of its last heartbeat."""
        return answers.peek(self._job_call("GET", job_id, "/peek"))

    def description(self, job_id: int) -> tuple[Mapping[str, Any], str]:
        """The description of a job, as a mapping of DIRAC's names and as JDL."""
        given = self._job_call("GET", job_id, "/description")
        return checked.mapping(given.get("Description"), "Description"), checked.text(given.get("JDL"), "JDL")

    def catalog_lookup(self, lfns: Sequence[str], catalog: str = "") -> dict[str, answers.CatalogFile]:
        """Those of *lfns* that the catalogue knows."""
        body: dict[str, object] = {"LFNs": list(lfns)}
        if catalog:
            body["Catalog"] = catalog
        return answers.catalog_files(self._call("POST", "/api/jobspan/catalog/lookup", body=body).body)

    def catalog_register(self, catalog: str, lfn: str, file: answers.CatalogFile) -> None:
        """Make *lfn* known with each of its replicas; the very same twice is no error."""
        for element, pfn in file.replicas.items():
            body = {
                "Catalog": catalog,
                "LFN": lfn,
                "Size": file.size_bytes,
                "Adler32": file.adler32,
                "SE": element,
                "PFN": pfn,
            }
            self._call("POST", "/api/jobspan/catalog/register", body=body)

    def catalog_remove(self, catalog: str, lfn: str, element: str) -> None:
        """Forget that *lfn* lies at *element*; refused when it is the only replica."""
        self._call("POST", "/api/jobspan/catalog/remove", body={"Catalog": catalog, "LFN": lfn, "SE": element})

    def _hear_stop(self, body: object) -> None:
        self.is_told_to_stop |= checked.mapping(body, "answer").get("Stop") is True

    def _job_call(
        self, method: str, job_id: int, rest: str, body: Mapping[str, object] | None = None
    ) -> Mapping[str, Any]:
        path = _JOBS + rest
        answer = self._call(method, path.replace("{id}", str(job_id)), template=path, body=body)
        return checked.mapping(answer.body, "answer")
