"""AuthDB: logins under way, refresh tokens by session, and the audit log."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Column, Connection, Index, Select, String, Table, delete, func, insert, select, update

from runner.server.db.console_sessions_db import SESSIONS as CONSOLE_SESSIONS
from runner.server.db.job_db import Row
from runner.server.db.schema import METADATA, Serial, for_decision, inserted_id, time_column

#: A login that a program has asked for: by device code, or by a redirection of the browser.
FLOWS = Table(
    "auth_flows",
    METADATA,
    Column("FlowID", Serial, primary_key=True, autoincrement=True),
    Column("UserCode", String(64), nullable=False, unique=True),
    Column("SecretHash", String(64), nullable=False, unique=True),
    Column("ClientID", String(64), nullable=False),
    Column("VO", String(64), nullable=False),
    Column("GroupName", String(64), nullable=False),
    Column("RedirectURI", String(1024), nullable=False, default=""),
    Column("State", String(1024), nullable=False, default=""),
    Column("Challenge", String(128), nullable=False, default=""),
    Column("UserName", String(64)),
    Column("Address", String(64), nullable=False),
    time_column("ExpiryTime", nullable=False),
    sqlite_autoincrement=True,
)
REFRESH_TOKENS = Table(
    "auth_refresh_tokens",
    METADATA,
    Column("JTI", String(64), primary_key=True),
    Column("SessionID", String(64), nullable=False),
    Column("Status", String(16), nullable=False),
    Column("UserName", String(64), nullable=False),
    Column("VO", String(64), nullable=False),
    Column("GroupName", String(64), nullable=False),
    Column("ClientID", String(64), nullable=False),
    Column("Predecessor", String(64), nullable=False, default=""),
    time_column("SessionTime", nullable=False),
    time_column("CreationTime", nullable=False),
    time_column("ExpiryTime", nullable=False),
    Index("refresh_tokens_of_session", "SessionID"),
    Index("refresh_tokens_of_user", "UserName", "VO"),
)
AUDIT = Table(
    "auth_audit",
    METADATA,
    Column("EntryID", Serial, primary_key=True, autoincrement=True),
    time_column("EntryTime", nullable=False),
    Column("Event", String(32), nullable=False),
    Column("UserName", String(64), nullable=False),
    Column("VO", String(64), nullable=False),
    Column("Address", String(64), nullable=False),
    Column("Detail", String(255), nullable=False),
    Index("audit_by_time", "EntryTime", "Event"),
    sqlite_autoincrement=True,
)
#: Access tokens and job tokens that count no more, until they would have ended by themselves.
REVOKED_TOKENS = Table(
    "auth_revoked_tokens",
    METADATA,
    Column("JTI", String(64), primary_key=True),
    time_column("ExpiryTime", nullable=False),
)
ACTIVE, USED, REVOKED = "Active", "Used", "Revoked"


class AuthDB:
    """Logins, sessions and what became of them, within one transaction.

    With *locks*, a login or token that was read is nobody else's until the end: each is used once.
    """

    def __init__(self, connection: Connection, *, locks: bool = False) -> None:
        self._connection = connection
        self._locks = locks

    # --- logins under way

    def add_flow(self, values: Mapping[str, Any]) -> None:
        """A login that somebody has asked for."""
        self._connection.execute(insert(FLOWS), dict(values))

    def flow(self, *, user_code: str | None = None, secret_hash: str | None = None) -> Row | None:
        """The login with that user code, or of whoever knows that secret."""
        where = FLOWS.c.UserCode == user_code if user_code is not None else FLOWS.c.SecretHash == secret_hash
        return self._one(select(FLOWS).where(where))

    def change_flow(self, flow_id: int, changes: Mapping[str, Any]) -> None:
        """Set columns of one login."""
        self._connection.execute(update(FLOWS).where(FLOWS.c.FlowID == flow_id), dict(changes))

    def end_flow(self, flow_id: int) -> None:
        """Forget a login that has succeeded."""
        self._connection.execute(delete(FLOWS).where(FLOWS.c.FlowID == flow_id))

    def count_flows(self, address: str | None = None) -> int:
        """How many logins are under way, in all or from one address."""
        query = select(func.count()).select_from(FLOWS)
        return int(self._connection.scalar(query if address is None else query.where(FLOWS.c.Address == address)) or 0)

    def expire(self, now_ns: int, audit_before_ns: int) -> None:
        """Forget logins, refresh tokens and revocations whose time is over, and the oldest entries of the audit log."""
        self._connection.execute(delete(FLOWS).where(FLOWS.c.ExpiryTime <= now_ns))
        self._connection.execute(delete(REFRESH_TOKENS).where(REFRESH_TOKENS.c.ExpiryTime <= now_ns))
        self._connection.execute(delete(REVOKED_TOKENS).where(REVOKED_TOKENS.c.ExpiryTime <= now_ns))
        self._connection.execute(delete(AUDIT).where(AUDIT.c.EntryTime < audit_before_ns))

    # --- sessions

    def add_token(self, values: Mapping[str, Any]) -> None:
        """A refresh token."""
        self._connection.execute(insert(REFRESH_TOKENS), dict(values))

    def token(self, jti: str) -> Row | None:
        """One refresh token."""
        return self._one(select(REFRESH_TOKENS).where(REFRESH_TOKENS.c["JTI"] == jti))

    def active_tokens(self, owner: tuple[str, str] | None, now_ns: int) -> list[Row]:
        """Refresh tokens that can be used, of one (user, VO) or of all; the newest first."""
        found = select(REFRESH_TOKENS).where(REFRESH_TOKENS.c.Status == ACTIVE, REFRESH_TOKENS.c.ExpiryTime > now_ns)
        if owner is not None:
            found = found.where(REFRESH_TOKENS.c.UserName == owner[0], REFRESH_TOKENS.c["VO"] == owner[1])
        return list(self._connection.execute(found.order_by(REFRESH_TOKENS.c.CreationTime.desc())).mappings())

    def unused_successor(self, row: Row) -> Row | None:
        """The token for which *row* was exchanged, if that has not been used itself."""
        next_ones = (REFRESH_TOKENS.c.SessionID == row["SessionID"], REFRESH_TOKENS.c.Status == ACTIVE)
        return self._one(select(REFRESH_TOKENS).where(*next_ones, REFRESH_TOKENS.c.Predecessor == row["JTI"]))

    def use_token(self, jti: str) -> None:
        """It has been exchanged for the next of its session."""
        self._connection.execute(update(REFRESH_TOKENS).where(REFRESH_TOKENS.c["JTI"] == jti), {"Status": USED})

    def revoke_session(self, session_id: str) -> None:
        """End a session: none of its refresh tokens counts any more."""
        where = REFRESH_TOKENS.c.SessionID == session_id
        self._connection.execute(update(REFRESH_TOKENS).where(where), {"Status": REVOKED})

    def revoke_user(self, name: str, vo: str) -> int:
        """End all sessions of a user, and his logins that were approved; how many sessions there were."""
        flows = (FLOWS.c.UserName == name, FLOWS.c["VO"] == vo)
        self._connection.execute(delete(FLOWS).where(*flows))
        mine = (REFRESH_TOKENS.c.UserName == name, REFRESH_TOKENS.c["VO"] == vo, REFRESH_TOKENS.c.Status == ACTIVE)
        console = (CONSOLE_SESSIONS.c.UserName == name, CONSOLE_SESSIONS.c["VO"] == vo)
        ended = self._connection.execute(delete(CONSOLE_SESSIONS).where(*console)).rowcount
        return ended + self._connection.execute(update(REFRESH_TOKENS).where(*mine), {"Status": REVOKED}).rowcount

    # --- single tokens

    def revoke(self, jti: str, expiry_ns: int) -> bool:
        """This token counts no more; whether it did."""
        known = select(REVOKED_TOKENS.c["JTI"]).where(REVOKED_TOKENS.c["JTI"] == jti)
        if self._connection.scalar(known) is not None:
            return False
        self._connection.execute(insert(REVOKED_TOKENS), {"JTI": jti, "ExpiryTime": expiry_ns})
        return True

    def revoked(self, now_ns: int) -> frozenset[str]:
        """Tokens that were revoked and would count now."""
        return frozenset(
            self._connection.scalars(select(REVOKED_TOKENS.c["JTI"]).where(REVOKED_TOKENS.c.ExpiryTime > now_ns))
        )

    # --- audit log

    def add_entry(self, values: Mapping[str, Any]) -> int:
        """An entry of the audit log; its number."""
        return inserted_id(self._connection.execute(insert(AUDIT), dict(values)))

    def change_entry(self, entry_id: int, changes: Mapping[str, Any]) -> None:
        """What became of the attempt that the entry is about."""
        self._connection.execute(update(AUDIT).where(AUDIT.c.EntryID == entry_id), dict(changes))

    def count_entries(self, event: str, since_ns: int, *, address: str | None = None, name: str | None = None) -> int:
        """How often *event* has happened since then, from an address, for a user."""
        query = select(func.count()).select_from(AUDIT).where(AUDIT.c.EntryTime > since_ns, AUDIT.c.Event == event)
        if address is not None:
            query = query.where(AUDIT.c.Address == address)
        if name is not None:
            query = query.where(AUDIT.c.UserName == name)
        return int(self._connection.scalar(query) or 0)

    def entries(self, limit: int) -> list[Row]:
        """The newest entries of the audit log, the newest first."""
        found = select(AUDIT).order_by(AUDIT.c.EntryID.desc()).limit(limit)
        return list(self._connection.execute(found).mappings())

    def _one(self, query: Select[Any]) -> Row | None:
        return self._connection.execute(for_decision(query, self._locks)).mappings().first()
