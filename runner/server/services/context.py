"""What every service works with."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from runner.server.bells import Bell
from runner.server.db.auth_db import AuthDB
from runner.server.db.engine import Databases
from runner.server.db.schema import now_ns
from runner.server.inbox import Inbox
from runner.server.observer import SILENT, Observer
from runner.server.sandboxes.contents import Contents
from runner.server.settings import ServerSettings
from runner.server.tokens import TokenMint
from telemetry.clock import Clock

T = TypeVar("T")
log = logging.getLogger("jobspan.wms.audit")


@dataclass(frozen=True, kw_only=True)
class ServiceContext:
    """One WMS: databases and contents, clock and key, the bells that wake long polls, the inbox of the optimizers."""

    settings: ServerSettings
    databases: Databases
    clock: Clock
    mint: TokenMint
    wms_id: str
    #: Where the contents of sandboxes are.
    contents: Contents
    observer: Observer = SILENT
    jobs_wait: Bell = field(default_factory=Bell)
    commands_wait: Bell = field(default_factory=Bell)
    #: Jobs that were received, for the optimizers.
    received: Inbox = field(default_factory=Inbox)

    def now_ns(self) -> int:
        """The present moment, as databases and wire hold it."""
        return now_ns(self.clock)

    @property
    def is_shared(self) -> bool:
        """Whether other processes may serve the same jobs."""
        return self.databases.is_shared

    def repeated(self, call: Callable[[], T]) -> T:
        """The result of *call*, made again when the database has ended it for a reason that passes."""
        return self.databases.repeated(call)

    def audit(self, auth: AuthDB, event: str, user: tuple[str, str], *, address: str, detail: str) -> int:
        """Write into the audit log, and into the process's, what has happened to *user* (name, VO); the entry."""
        log.info("%s: user %r, address %s, %s", event, user[0], address or "-", detail or "-")
        values = {"Event": event, "UserName": user[0], "VO": user[1], "Address": address[:64], "Detail": detail[:255]}
        return auth.add_entry({"EntryTime": self.now_ns(), **values})

    @property
    def is_stopping(self) -> bool:
        """The server was told to stop."""
        return self.jobs_wait.is_closed

    def close_bells(self) -> None:
        """Let every long poll answer now."""
        self.jobs_wait.close()
        self.commands_wait.close()
