"""What every service works with."""

from dataclasses import dataclass, field

from runner.server.bells import Bell
from runner.server.db.engine import Databases
from runner.server.db.schema import now_ns
from runner.server.observer import SILENT, Observer
from runner.server.settings import ServerSettings
from runner.server.tokens import TokenMint
from telemetry.clock import Clock


@dataclass(frozen=True, kw_only=True)
class ServiceContext:
    """One WMS: its databases, its clock, its key, and the bells that wake long polls."""

    settings: ServerSettings
    databases: Databases
    clock: Clock
    mint: TokenMint
    wms_id: str
    observer: Observer = SILENT
    jobs_wait: Bell = field(default_factory=Bell)
    commands_wait: Bell = field(default_factory=Bell)

    def now_ns(self) -> int:
        """The present moment, as databases and wire hold it."""
        return now_ns(self.clock)

    @property
    def is_stopping(self) -> bool:
        """The server was told to stop."""
        return self.jobs_wait.is_closed

    def close_bells(self) -> None:
        """Let every long poll answer now."""
        self.jobs_wait.close()
        self.commands_wait.close()
