"""What those who run jobs, sites and pilots ask of the WMS beyond the dialect: our own routes for it."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

from runner.wms import checked
from runner.wms.dialect import DiracxDialect

_JOBS, _PILOTS, _SITES = "/api/jobspan/jobs", "/api/jobspan/pilots", "/api/jobspan/sites"
_TARGETS = "/api/jobspan/targets"
Order: TypeAlias = Literal["kill", "delete", "remove"]
PAGE = 1000


class OperationCalls(DiracxDialect):
    """The calls about many jobs at once, the site mask and pilots."""

    def order(self, order: Order, job_ids: Sequence[int]) -> dict[int, str]:
        """Kill, delete or remove jobs. For each of them a sentence: why not, or what is to be known; empty if neither.

        Those that were refused have a sentence that begins with "not ".
        """
        answer = checked.mapping(self._call("POST", f"{_JOBS}/{order}", body={"job_ids": list(job_ids)}).body, "answer")
        taken, refused = (checked.mapping(answer.get(name), name) for name in ("success", "failed"))
        return {job_id: _sentence(order, taken.get(str(job_id)), refused.get(str(job_id))) for job_id in job_ids}

    def why(self, job_id: int) -> Mapping[str, Any]:
        """Why a job does not run: Summary, Unmet, Agents."""
        return self._of_path(_JOBS, str(job_id), "/why")

    def sites(self) -> list[Mapping[str, Any]]:
        """What has been said of sites."""
        return _rows(self._call("GET", _SITES).body, "Sites")

    def site_history(self, site: str = "") -> list[Mapping[str, Any]]:
        """Who said what of one site or of all, the oldest first."""
        query: dict[str, str | int] = {"site": site} if site else {}
        return _rows(self._call("GET", f"{_SITES}/history", query=query).body, "History")

    def set_site(self, site: str, *, banned: bool, comment: str = "") -> None:
        """Let a site get no more jobs, or jobs again."""
        self._call("POST", f"{_SITES}/{'ban' if banned else 'allow'}", body={"Site": site, "Comment": comment})

    def pilots(self, job_id: int | None = None) -> list[Mapping[str, Any]]:
        """The newest pilots that we may see; or those of a job."""
        conditions = [] if job_id is None else [{"parameter": "JobID", "operator": "eq", "value": job_id}]
        body = {"search": conditions, "sort": [{"parameter": "PilotID", "direction": "desc"}]}
        found = self._call("POST", "/api/pilots/search", query={"page": 1, "per_page": PAGE}, body=body).body
        return [checked.mapping(each, "pilot") for each in checked.items(found, "pilots")]

    def pilot_log(self, stamp: str) -> list[Mapping[str, Any]]:
        """What a pilot has said."""
        return _rows(self._of_path(_PILOTS, stamp, "/log"), "Log")

    def add_pilot_log(self, stamp: str, messages: Sequence[Mapping[str, object]]) -> None:
        """Hand in lines of a pilot's log (Time, Severity, Source, Message)."""
        path = f"{_PILOTS}/{{stamp}}/log"
        body = {"Messages": [dict(each) for each in messages]}
        self._call("POST", path.replace("{stamp}", stamp), template=path, body=body, repeatable=False)

    def kill_pilot(self, stamp: str) -> None:
        """Tell a pilot to stop."""
        path = f"{_PILOTS}/{{stamp}}/kill"
        self._call("POST", path.replace("{stamp}", stamp), template=path)

    def announce_metrics(self, *, port: int, role: str, stamp: str, site: str = "", job_id: int = 0) -> int:
        """Let Prometheus find the metrics at our *port*; the seconds within which it has to be said again."""
        body = {"Port": port, "Role": role, "PilotStamp": stamp, "Site": site, "JobID": job_id}
        answer = checked.mapping(self._call("POST", _TARGETS, body=body).body, "answer")
        return checked.whole(answer.get("Seconds"), "Seconds", least=1)

    def withdraw_metrics(self, port: int) -> None:
        """There are none at our *port* any more."""
        self._call("POST", f"{_TARGETS}/remove", body={"Port": port})

    def _of_path(self, root: str, name: str, rest: str) -> Mapping[str, Any]:
        template = f"{root}/{{id}}{rest}"
        return checked.mapping(self._call("GET", f"{root}/{name}{rest}", template=template).body, "answer")


def _rows(body: object, name: str) -> list[Mapping[str, Any]]:
    return [checked.mapping(each, name) for each in checked.items(checked.mapping(body, "answer").get(name), name)]


def _sentence(order: Order, taken: object, refused: object) -> str:
    if taken is None:
        done = {"kill": "killed", "delete": "deleted", "remove": "removed"}[order]
        return f"not {done}: {checked.mapping(refused or {}, 'refusal').get('detail', 'the WMS does not say why')}"
    return str(checked.mapping(taken, "outcome").get("Reason", ""))
