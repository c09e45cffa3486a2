"""A WMS for one job, behind a real HTTP server, whose every call can be made to fail in a chosen way."""

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from tests.support.http_faults import RESET, Reply, Seen

#: What happens to a call. lost: it has its effect, and the reply is lost. null: a status is not taken, as DiracX does
#: with one that is dated before its newest (HTTP 200, Status null).
Fault: TypeAlias = Literal["", "lost", "reset", "500", "503", "401", "429", "html", "null"]
FENCED = Reply(409, {"detail": "fenced: attempt 2 is current"}, {"Jobspan-Fenced": "1"})


@dataclass
class OneJobWms:
    """Statuses in the order of their timestamps; the same timestamp twice is one report."""

    status: str = "Matched"
    minor: str = ""
    reported: dict[str, dict[str, str]] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)
    heartbeats: list[dict[str, Any]] = field(default_factory=list)
    acknowledged: list[int] = field(default_factory=list)
    rescheduled: int = 0
    most_reschedulings: int = 3
    fenced: bool = False
    #: Whether it has the one call for all, which DiracX has not.
    knows_reports: bool = True
    #: The execution that reported Running first, where it named itself.
    claim: str = ""
    #: A minor status that this WMS refuses for ever (422).
    poison: str = "poison"
    faults: list[Fault] = field(default_factory=list)
    #: Statuses dated no later are only logged, as by DiracX.
    newest: str = ""
    _is_late: bool = False

    def handle(self, seen: Seen) -> Reply:
        """Answer one call, after the next fault."""
        fault = self.faults.pop(0) if self.faults else ""
        self._is_late = fault == "null"
        reply = self._work(seen) if fault in ("", "lost", "null") else None
        return reply if reply is not None and fault != "lost" else _FAULTS[fault]

    @property
    def minors(self) -> list[str]:
        """The minor statuses that were accepted, in order of their timestamps."""
        return [self.reported[moment].get("MinorStatus", "") for moment in sorted(self.reported)]

    def _work(self, seen: Seen) -> Reply:
        if self.fenced:
            return FENCED
        match seen.path.partition("?")[0].removeprefix("/api/"):
            case "jobs/status":
                return self._statuses(next(iter(seen.body.values())))
            case "jobs/metadata":
                return self._parameters(next(iter(seen.body.values())))
            case "jobs/heartbeat":
                self.heartbeats.append(next(iter(seen.body.values())))
                waits = self.status == "Killed" and 5 not in self.acknowledged
                command = {"job_id": 7, "command": "Kill", "arguments": "", "command_id": 5}
                return Reply(200, [command] if waits else [])
            case "jobspan/commands/ack":
                self.acknowledged += seen.body["CommandIDs"]
                return Reply(204)
            case "jobs/reschedule":
                return self._reschedule()
            case "jobs/search":
                log = [{"Status": "Matched", "StatusTime": self.newest}] if self.newest else []
                row = {"Status": self.status, "MinorStatus": self.minor, "RescheduleCounter": self.rescheduled}
                return Reply(200, [{"JobID": 7, "LoggingInfo": log, **row}])
            case path:
                return self._ours(path, seen)

    def _ours(self, path: str, seen: Seen) -> Reply:
        if path == "jobspan/jobs/7/token":
            return self._fenced_by(seen.body["Claim"]) or Reply(200, _token(seen.body["Claim"]))
        if path == "jobspan/jobs/7/report" and self.knows_reports:
            return self._report(seen.body)
        return Reply(404, {"detail": "nothing here"})

    def _report(self, said: dict[str, Any]) -> Reply:
        """All or nothing."""
        claim = said.get("Claim", "")
        if refusal := self._fenced_by(claim):
            return refusal
        parts = [self._parameters(said["Parameters"])]
        if said["Statuses"] and parts[0].status == 204:
            parts.append(self._statuses(said["Statuses"]))
        if parts[-1].status == 422:
            return parts[-1]
        if any(each.get("Status") == "Running" for each in said["Statuses"].values()):
            self.claim = self.claim or claim
        if "Heartbeat" in said:
            self.heartbeats.append(said["Heartbeat"])
        waits = self.status == "Killed" and 5 not in self.acknowledged
        commands = [{"job_id": 7, "command": "Kill", "arguments": "", "command_id": 5}] if waits else []
        kept = parts[1].body["success"]["7"] if len(parts) > 1 else None
        return Reply(200, {"Kept": kept, "Commands": commands} | (_token(claim) if claim else {}))

    def _fenced_by(self, claim: str) -> Reply | None:
        return FENCED if claim and self.claim not in ("", claim) else None

    def _statuses(self, updates: dict[str, dict[str, str]]) -> Reply:
        if any(update.get("MinorStatus") == self.poison for update in updates.values()):
            return Reply(422, {"detail": "poison"})
        if self._is_late or max(updates) <= self.newest:
            return Reply(200, {"success": {"7": {"Status": None, "MinorStatus": None}}, "failed": {}})
        for moment in sorted(updates):
            if self.status not in ("Killed", "Done"):
                self.reported[moment] = updates[moment]
                self.status = updates[moment].get("Status", self.status)
                self.minor = updates[moment].get("MinorStatus", self.minor)
        kept = {"Status": self.status, "MinorStatus": self.minor, "ApplicationStatus": None}
        return Reply(200, {"success": {"7": kept}, "failed": {}})

    def _parameters(self, values: dict[str, Any]) -> Reply:
        if self.poison in values:
            return Reply(422, {"detail": "poison"})
        self.parameters |= values
        return Reply(204)

    def _reschedule(self) -> Reply:
        if self.rescheduled >= self.most_reschedulings:
            failed = {"7": {"detail": "Maximum number of reschedules exceeded"}}
            return Reply(400, {"detail": {"failed": failed, "success": {}}})
        self.rescheduled += 1
        self.fenced = True
        return Reply(200, {"success": {"7": {"Status": "Received"}}, "failed": {}})


def _token(claim: str) -> dict[str, str]:
    return {"JobToken": f"token of {claim}", "JobTokenExpires": "2040-01-01T00:00:00Z"}


_FAULTS: dict[str, Reply] = {
    "lost": RESET,
    "reset": RESET,
    "500": Reply(500, b"Internal Server Error", {"Content-Type": "text/plain"}),
    "503": Reply(503, {}, {"Retry-After": "0"}),
    "401": Reply(401, {"detail": "Invalid JWT"}),
    "429": Reply(429, {"detail": "slowly"}),
    "html": Reply(200, b"<html/>", {"Content-Type": "text/html"}),
}
