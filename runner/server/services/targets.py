"""Targets: where agents, and wrappers without one, serve their metrics, in the form in which Prometheus asks for it.

Pilots alone say so, and only of themselves: the host is the one from which they call. What is not
said again in time is no longer listed.
"""

import ipaddress
from typing import Any

from runner.server.db.job_db import Row
from runner.server.errors import InvalidRequestError, TooManyAttemptsError
from runner.server.models import TargetParams
from runner.server.services.context import ServiceContext
from runner.server.services.job_policy import Relation, Right, require
from runner.server.services.unicode import sendable
from runner.server.tokens import Identity
from telemetry.clock import NANOSECONDS

#: Targets of one host at most: wrappers without an agent have one each.
MOST_A_HOST = 1024


class Targets:
    """Takes what is to be scraped, and lists it."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context

    def register(self, identity: Identity, target: TargetParams, peer: str) -> float:
        """List *target* on the host *peer*; the seconds after which it has to be said again.

        Raises:
            InvalidRequestError: the caller has no address. TooManyAttemptsError: too many ports of one host.
        """
        require(identity, Right.REGISTER_TARGET, Relation.GENERAL)
        host, now_ns, seconds = _host(peer), self._context.now_ns(), self._context.settings.target_seconds
        values = {
            "VO": identity.vo,
            "Path": target.Path,
            "Role": target.Role,
            "Site": sendable(target.Site),
            "PilotStamp": target.PilotStamp,
            "JobID": target.JobID,
            "ExpiryTime": now_ns + round(seconds * NANOSECONDS),
        }
        with self._context.databases.write() as transaction:
            if transaction.targets.count_others(host, target.Port, now_ns) >= MOST_A_HOST:
                raise TooManyAttemptsError(f"{host} has {MOST_A_HOST} targets already")
            transaction.targets.put(host, target.Port, values)
        return seconds

    def remove(self, identity: Identity, port: int, peer: str) -> None:
        """Nothing is to be scraped at *port* of the caller any more.

        Raises:
            InvalidRequestError: the caller has no address.
        """
        require(identity, Right.REGISTER_TARGET, Relation.GENERAL)
        with self._context.databases.write() as transaction:
            transaction.targets.remove(_host(peer), port)

    def listed(self, identity: Identity) -> list[dict[str, Any]]:
        """What Prometheus is to scrape, in the form of its http_sd."""
        require(identity, Right.READ_TARGETS, Relation.GENERAL)
        with self._context.databases.read() as transaction:
            return [_group(row) for row in transaction.targets.listed(identity.vo, self._context.now_ns())]


def _host(peer: str) -> str:
    """The caller's address, an IPv4 one as such."""
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        raise InvalidRequestError("the WMS does not see from which address this call comes") from None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def _group(row: Row) -> dict[str, Any]:
    """One target. What would give each pilot series of its own is there for relabelling only (`__meta_`)."""
    host = f"[{row['Host']}]" if ":" in row["Host"] else row["Host"]
    labels = {
        "__metrics_path__": row["Path"],
        "__meta_jobspan_pilot_stamp": row["PilotStamp"],
        "__meta_jobspan_job_id": str(row["JobID"] or ""),
        "role": row["Role"],
        "site": row["Site"],
    }
    return {"targets": [f"{host}:{row['Port']}"], "labels": {name: value for name, value in labels.items() if value}}
