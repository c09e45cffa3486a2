"""Our own calls for accounting and for what this WMS witnessed."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeAlias

from fastapi import APIRouter, Depends, Query
from fastapi.responses import JSONResponse, Response
from pydantic import AwareDatetime

from runner.server.errors import InvalidRequestError
from runner.server.models import FIRST_MOMENT, LAST_MOMENT, AccountingRecords
from runner.server.routes.dependencies import Caller, JobNumber, PageNumber, PerPage, Served
from runner.server.services.accounting_report import KEYS, as_csv
from telemetry.clock import parse_utc

router = APIRouter(prefix="/api/jobspan")


@router.post("/accounting")
def insert(body: AccountingRecords, caller: Caller, services: Served) -> Response:
    """Deliver accounting records; delivering one again changes nothing."""
    return JSONResponse({"Results": services.accounting.insert(caller, body.Records)})


@router.get("/accounting")
def records(
    caller: Caller, services: Served, job_id: JobNumber | None = None, page: PageNumber = 1, per_page: PerPage = 100
) -> Response:
    """The accounting record of each attempt."""
    return JSONResponse(services.accounting.records(caller, job_id, (page - 1) * per_page, per_page))


class _Ended:
    """Of attempts that ended from *start* on, before *end*."""

    def __init__(
        self,
        start: Annotated[AwareDatetime | None, Query(ge=FIRST_MOMENT, lt=LAST_MOMENT)] = None,
        end: Annotated[AwareDatetime | None, Query(ge=FIRST_MOMENT, lt=LAST_MOMENT)] = None,
    ) -> None:
        self.span = (_ns(start), _ns(end))


def _ns(moment: datetime | None) -> int | None:
    return None if moment is None else parse_utc(moment.astimezone(UTC).isoformat())


Ended: TypeAlias = Annotated[_Ended, Depends()]


@router.get("/accounting/history")
def history(
    caller: Caller,
    services: Served,
    ended: Ended,
    job_id: JobNumber | None = None,
    page: PageNumber = 1,
    per_page: PerPage = 100,
) -> Response:
    """All records of each attempt, also those that another has superseded."""
    return JSONResponse(services.accounting.history(caller, job_id, (page - 1) * per_page, per_page, ended.span))


@router.get("/accounting/digests")
def digests(caller: Caller, services: Served, ended: Ended) -> Response:
    """Digests of the records that count, by the hour of their end: where they agree, nobody need fetch the records."""
    return JSONResponse({"Digests": services.accounting_report.digests(caller, ended.span)})


@router.get("/witness")
def witness(
    caller: Caller,
    services: Served,
    ended: Ended,
    job_id: JobNumber | None = None,
    page: PageNumber = 1,
    per_page: PerPage = 100,
) -> Response:
    """What this WMS saw of each attempt, by its own clock."""
    return JSONResponse(services.accounting.witness(caller, job_id, (page - 1) * per_page, per_page, ended.span))


class _Chosen:
    """Which records: of what ended then, with these keys."""

    def __init__(
        self,
        ended: Ended,
        where: Annotated[list[str], Query(max_length=20, description="KEY=value, may be repeated")] = (),  # type: ignore[assignment]
    ) -> None:
        self.wanted: dict[str, Any] = {}
        for name, moment in zip(("start_ns", "end_ns"), ended.span, strict=True):
            if moment is not None:
                self.wanted[name] = moment
        for condition in where:
            key, equals, value = condition.partition("=")
            if not equals or key not in KEYS:
                raise InvalidRequestError(f"{condition[:80]!r} must be KEY=value, with one of {', '.join(KEYS)}")
            self.wanted[key] = value


Chosen: TypeAlias = Annotated[_Chosen, Depends()]
Format: TypeAlias = Annotated[Literal["json", "csv"], Query()]


@router.get("/accounting/summary")
def summary(
    caller: Caller,
    services: Served,
    chosen: Chosen,
    group_by: Annotated[list[str], Query(max_length=10)] = ("Site",),  # type: ignore[assignment]
    bucket_seconds: Annotated[int | None, Query(ge=60, le=366 * 86400)] = None,
    format: Format = "json",
) -> Response:
    """Sums over records, by time and by keys."""
    return _table(services.accounting_report.sums(caller, chosen.wanted, group_by, bucket_seconds), format)


@router.get("/accounting/export")
def export(
    caller: Caller,
    services: Served,
    chosen: Chosen,
    page: PageNumber = 1,
    per_page: PerPage = 1000,
    format: Format = "json",
) -> Response:
    """The records that count, in the order in which the attempts ended."""
    return _table(services.accounting_report.export(caller, chosen.wanted, (page - 1) * per_page, per_page), format)


def _table(rows: Sequence[Mapping[str, Any]], form: str) -> Response:
    if form == "csv":
        return Response(as_csv(rows), media_type="text/csv; charset=utf-8")
    return JSONResponse({"Rows": rows})
