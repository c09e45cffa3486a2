"""ConsoleSessionsDB: who is logged in to the web console, by the digest of what the browser shows."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Column, Connection, Index, String, Table, delete, insert, or_, select, update

from runner.server.db.job_db import Row
from runner.server.db.schema import METADATA, time_column

SESSIONS = Table(
    "console_sessions",
    METADATA,
    Column("SessionID", String(32), primary_key=True),
    Column("SecretHash", String(64), nullable=False, unique=True),
    Column("EarlierHash", String(64), nullable=False, default=""),  # of the secret before that
    Column("FormToken", String(64), nullable=False),  # in each form that changes something
    Column("UserName", String(64), nullable=False),
    Column("VO", String(64), nullable=False),
    Column("GroupName", String(64), nullable=False),
    Column("TokenID", String(64), nullable=False, default=""),  # of the token that was shown; empty: a password was
    Column("Roles", String(255), nullable=False, default=""),  # of that token; a password gives those of the group
    Column("Address", String(64), nullable=False),
    time_column("CreationTime", nullable=False),
    time_column("RotationTime", nullable=False),  # since when the secret is what it is
    time_column("ShownTime"),  # when a browser showed it first
    time_column("LastTime", nullable=False),
    time_column("ExpiryTime", nullable=False),
    Index("console_sessions_by_earlier", "EarlierHash"),
    Index("console_sessions_of_user", "UserName", "VO"),
)


class ConsoleSessionsDB:
    """Sessions of the console, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, values: Mapping[str, Any]) -> None:
        """A new session."""
        self._connection.execute(insert(SESSIONS), dict(values))

    def get(self, secret_hash: str) -> Row | None:
        """The session that has this secret, or had it before the present one."""
        mine = or_(SESSIONS.c.SecretHash == secret_hash, SESSIONS.c.EarlierHash == secret_hash)
        return self._connection.execute(select(SESSIONS).where(mine)).mappings().first()

    def change_from(self, session_id: str, secret_hash: str, changes: Mapping[str, Any]) -> bool:
        """Set columns if the session still has that secret; whether it had. Of many callers one succeeds."""
        mine = (SESSIONS.c.SessionID == session_id, SESSIONS.c.SecretHash == secret_hash)
        return self._connection.execute(update(SESSIONS).where(*mine), dict(changes)).rowcount == 1

    def end(self, session_id: str) -> bool:
        """Forget a session; whether it was there."""
        return self._connection.execute(delete(SESSIONS).where(SESSIONS.c.SessionID == session_id)).rowcount == 1

    def expire(self, now_ns: int) -> None:
        """Forget sessions whose time is over."""
        self._connection.execute(delete(SESSIONS).where(SESSIONS.c.ExpiryTime <= now_ns))
