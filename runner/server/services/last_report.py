"""LastReport: what somebody has left in the folder for others to see, as `jobspan reconcile --json` says it."""

import json
from typing import Any

from runner.server.errors import InvalidRequestError
from runner.server.services.context import ServiceContext
from runner.server.services.job_policy import Relation, Right, require
from runner.server.tokens import Identity

RECONCILIATION = "reconciliation.json"
#: A report is bounded; what is larger is none.
MOST_BYTES = 16 << 20


class LastReport:
    """Reads the last report of a reconciliation, for whoever may see everybody's records."""

    def __init__(self, context: ServiceContext) -> None:
        self._path = context.settings.reports / RECONCILIATION

    @property
    def place(self) -> str:
        """Where a report is looked for."""
        return str(self._path)

    def reconciliation(self, identity: Identity) -> dict[str, Any] | None:
        """The document; None if there is none yet.

        Raises:
            ForbiddenError: the caller sees the own records only. InvalidRequestError: the file cannot be read.
        """
        require(identity, Right.READ_RECORDS, Relation.OTHER)
        try:
            if self._path.stat().st_size > MOST_BYTES:
                raise InvalidRequestError(f"{self._path} is too large for a report")
            document = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise InvalidRequestError(f"{self._path} cannot be read as a report") from error
        if not isinstance(document, dict):
            raise InvalidRequestError(f"{self._path} cannot be read as a report")
        return document
