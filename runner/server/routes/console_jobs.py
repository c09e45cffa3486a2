"""The console's pages of jobs: all of them, one of them, what it prints, where its time went; and orders for it."""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import RedirectResponse, Response

from dashboards import console_jobs as shown
from dashboards import trace_page
from runner.job.status import JobStatus
from runner.server.errors import InvalidRequestError
from runner.server.models import ScalarSearchSpec, SearchParams, SearchSpec, SortSpec
from runner.server.routes.console import ROOT, ConsoleRoute, Ordering, Visiting, part
from runner.server.routes.dependencies import JobPath, Served, Services
from runner.server.routes.sandboxes import download_address
from runner.server.services.job_monitoring import Page
from runner.server.services.job_states import WITH_WRAPPER
from runner.server.tokens import Identity
from runner.trace_views import job_view

router = APIRouter(prefix=ROOT, route_class=ConsoleRoute, include_in_schema=False)
JOBS = f"{ROOT}/jobs"
PER_PAGE = 50
#: What the table shows, in its order, and is sorted by.
COLUMNS = ("JobID", "Status", "MinorStatus", "JobName", "Owner", "Site", "SubmissionTime", "LastUpdateTime")
FILTERS = ("Status", "Owner", "OwnerGroup", "Site", "JobType", "JobGroup", "JobName")
#: What no span holds.
ON_THE_NODE = (
    "Each look at the payload and each excerpt of its output are in the journal on its node: jobspan trace --html "
    "shows them there, and an attempt that still runs."
)
Filter = Annotated[str, Query(max_length=128)]


@dataclass(frozen=True)
class _Asked:
    """Which jobs somebody wants to see, and how."""

    filters: Mapping[str, str]
    sort: str
    order: str
    page: int

    def specs(self) -> list[SearchSpec]:
        """The conditions but for the status; a * in a value stands for anything."""
        return [_spec(name, value) for name, value in self.filters.items() if value and name != "Status"]

    def statuses(self) -> list[str] | None:
        """The statuses that are wanted; None: any."""
        wanted = self.filters["Status"].lower()
        return [status for status in JobStatus if fnmatchcase(status.lower(), wanted)] if wanted else None

    def address(self, **changes: Any) -> str:
        """The page with other values."""
        names = ("status", "owner", "group", "site", "type", "job_group", "name")
        values: dict[str, Any] = dict(zip(names, self.filters.values(), strict=True))
        values |= {"sort": self.sort, "order": self.order, "page": self.page, **changes}
        defaults = {"sort": "JobID", "order": "desc", "page": 1}
        given = {name: value for name, value in values.items() if value and value != defaults.get(name)}
        return f"{JOBS}?{urlencode(given)}" if given else JOBS


async def _asked(  # noqa: PLR0913 - a parameter a field of the form
    status: Filter = "",
    owner: Filter = "",
    group: Filter = "",
    site: Filter = "",
    type: Filter = "",
    job_group: Filter = "",
    name: Filter = "",
    sort: Filter = "JobID",
    order: Filter = "desc",
    page: Annotated[int, Query(ge=1, le=1 << 20)] = 1,
) -> _Asked:
    if sort not in COLUMNS or order not in ("asc", "desc"):
        raise InvalidRequestError(f"jobs are not sorted by {sort} {order}")
    values = (status, owner, group, site, type, job_group, name)
    return _Asked(dict(zip(FILTERS, values, strict=True)), sort, order, page)


@router.get("/jobs")
def jobs(
    visit: Visiting,
    services: Served,
    asked: Annotated[_Asked, Depends(_asked)],
    job: Annotated[str, Query(max_length=20)] = "",
) -> Response:
    """Jobs with what they do now; *job*: the number of the one that somebody looks for."""
    if job.strip().isdecimal():
        return visit.go(f"{JOBS}/{int(job)}")
    sort: Any = asked.order
    wanted = SearchParams(
        parameters=list(COLUMNS), search=asked.specs(), sort=[SortSpec(parameter=asked.sort, direction=sort)]
    )
    first, chosen = (asked.page - 1) * PER_PAGE, asked.filters["Status"]
    found = services.job_monitoring.overview(visit.identity, wanted, asked.statuses(), first, PER_PAGE)
    counts = [
        shown.Count(status, found.counts[status], asked.address(status=status, page=1), status == chosen)
        for status in JobStatus
        if status in found.counts
    ]
    return visit.page(
        "jobs",
        is_live=True,
        fields=shown.fields(asked.filters, list(JobStatus)),
        counts=counts,
        columns=[_column(asked, name) for name in COLUMNS],
        jobs=found.page.rows,
        **pager(found.page, asked.page, asked.address),
    )


@router.get("/jobs/{job_id}")
def job(job_id: JobPath, visit: Visiting, services: Served) -> Response:
    """All about one job."""
    who = visit.identity
    found = services.job_monitoring.job(who, job_id)
    read = services.job_monitoring
    peek, live = _output(services, who, job_id)
    witness = part(lambda: services.accounting.witness(who, job_id, 0, 100))
    records = part(lambda: services.accounting.records(who, job_id, 0, 100))
    values = shown.JobValues(
        attributes=found["Attributes"],
        history=found["LoggingInfo"],
        may=frozenset(found["May"]),
        why=services.explanations.why(who, job_id)["Summary"],
        usage=read.usage(who, job_id),
        peek=peek,
        live=live,
        attempts=witness["Attempts"] if witness else [],
        records=records["Records"] if records else [],
        sandboxes=part(lambda: services.sandbox_store.of_job(who, job_id)) or {},
        parameters=read.parameters(who, job_id),
        jdl=read.description(who, job_id)["JDL"],
        now_ns=services.context.now_ns(),
        is_with_wrapper=found["Attributes"]["Status"] in WITH_WRAPPER,
        has_trace=services.job_traces.are_kept,
    )
    return visit.page("job", is_live=True, **shown.job_values(values))


@router.get("/jobs/{job_id}/peek")
def peek(job_id: JobPath, visit: Visiting, services: Served) -> Response:
    """All that is known of the job's output."""
    status = services.job_monitoring.job(visit.identity, job_id)["Attributes"]["Status"]
    known = shown.peek_values(*_output(services, visit.identity, job_id), services.context.now_ns())
    return visit.page("peek", is_live=True, job_id=job_id, peek=known, is_with_wrapper=status in WITH_WRAPPER)


@router.get("/jobs/{job_id}/trace")
def trace(job_id: JobPath, visit: Visiting, services: Served) -> Response:
    """Where its time went."""
    found = services.job_traces.of_job(visit.identity, job_id)
    attempt = int(services.job_monitoring.job(visit.identity, job_id)["Attributes"]["RescheduleCounter"]) + 1
    peek = part(lambda: services.job_monitoring.peek(visit.identity, job_id))
    is_of_last = peek is not None and found.attempts[-1].attempt == attempt  # else another one has written it
    view = job_view(found, {}, last_output=peek["StandardOutput"] if is_of_last else "", notes=[ON_THE_NODE])
    return visit.page("trace", **trace_page.values(view))


@router.get("/sandboxes")
def sandbox(
    request: Request, visit: Visiting, services: Served, pfn: Annotated[str, Query(max_length=1024)]
) -> Response:
    """Fetch a sandbox."""
    address = services.sandbox_store.initiate_download(visit.identity, pfn)
    return visit.answer(RedirectResponse(download_address(request, address), 303))


@router.post("/jobs/{job_id}/kill")
def kill(job_id: JobPath, visit: Ordering, services: Served) -> Response:
    """End it."""
    outcome = services.job_endings.kill(visit.identity, [job_id])
    if outcome["failed"]:
        raise InvalidRequestError(outcome["failed"][str(job_id)]["detail"])
    return visit.go(f"{JOBS}/{job_id}", said="killed")


@router.post("/jobs/{job_id}/reschedule")
def reschedule(job_id: JobPath, visit: Ordering, services: Served) -> Response:
    """A new attempt for it."""
    try:
        services.job_manager.reschedule(visit.identity, [job_id], preempted=False)
    except InvalidRequestError as error:
        raise InvalidRequestError(_reason(error.detail, job_id)) from error
    return visit.go(f"{JOBS}/{job_id}", said="rescheduled")


def _output(
    services: Services, who: Identity, job_id: int
) -> tuple[Mapping[str, Any] | None, Mapping[str, str] | None]:
    """What the last heartbeat brought of the output, and what the job's agent shows of it now; None: nothing."""
    live = part(lambda: services.live_peeks.look(who, job_id))
    return part(lambda: services.job_monitoring.peek(who, job_id)), live.streams if live else None


def pager(page: Page, number: int, address: Any) -> dict[str, Any]:
    """What is said of a page of rows, and where those before and after it are."""
    last = page.first + len(page.rows)
    return {
        "extent": f"{page.first + 1} to {last} of {page.total}" if page.rows else f"None of {page.total}",
        "earlier": address(page=number - 1) if number > 1 else "",
        "later": address(page=number + 1) if last < page.total else "",
    }


def _column(asked: _Asked, name: str) -> shown.Column:
    """Its head leads to the table sorted by it, or the other way round."""
    is_sorted = asked.sort == name
    turned = "asc" if is_sorted and asked.order == "desc" else "desc"
    sorted_now = {"asc": "ascending", "desc": "descending"}[asked.order] if is_sorted else ""
    return shown.column(name, asked.address(sort=name, order=turned, page=1), sorted_now)


def _spec(name: str, value: str) -> SearchSpec:
    if "*" not in value:
        return ScalarSearchSpec(parameter=name, operator="eq", value=value)
    plain = value.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return ScalarSearchSpec(parameter=name, operator="like", value=plain.replace("*", "%"))


def _reason(detail: Any, job_id: int) -> str:
    """Why one job was refused, from the answer for many."""
    if not isinstance(detail, Mapping):
        return str(detail)
    return str(detail["failed"][str(job_id)]["detail"])
