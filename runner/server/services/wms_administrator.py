"""WMSAdministrator: the site mask with its history."""

from typing import Any

from runner.server.db.job_db import Row
from runner.server.db.site_mask_db import ACTIVE, BANNED
from runner.server.services.context import ServiceContext
from runner.server.services.job_policy import Relation, Right, require
from runner.server.tokens import Identity
from telemetry.clock import utc_text


class WMSAdministrator:
    """Bans and allows sites."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context

    def ban(self, identity: Identity, site: str, comment: str) -> None:
        """The site gets no jobs from now on; those that run there go on."""
        self._set(identity, site, BANNED, comment)

    def allow(self, identity: Identity, site: str, comment: str) -> None:
        """The site gets jobs again; agents that wait there are answered at once."""
        self._set(identity, site, ACTIVE, comment)
        self._context.jobs_wait.ring()

    def mask(self, identity: Identity) -> list[dict[str, Any]]:
        """Every site of which somebody has spoken, as it is now; all others are allowed."""
        require(identity, Right.READ_SITE_MASK, Relation.GENERAL)
        with self._context.databases.read() as transaction:
            return [_shown(row) for row in transaction.site_mask.listing()]

    def history(self, identity: Identity, site: str | None) -> list[dict[str, Any]]:
        """What was said of one site, or of all, the oldest first."""
        require(identity, Right.READ_SITE_MASK, Relation.GENERAL)
        with self._context.databases.read() as transaction:
            return [_shown(row) for row in transaction.site_mask.history(site)]

    def _set(self, identity: Identity, site: str, status: str, comment: str) -> None:
        require(identity, Right.SET_SITE_MASK, Relation.GENERAL)
        said = {"Status": status, "Author": identity.name, "Comment": comment}
        with self._context.databases.write(durable=True) as transaction:
            transaction.site_mask.set(site, said, self._context.now_ns())


def _shown(row: Row) -> dict[str, Any]:
    return {name: utc_text(value) if name.endswith("Time") else value for name, value in row.items()}
