"""RegistryDB: users, their groups, and the codes with which an operator lets one in once."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, String, Table, delete, insert, select, update

from runner.server.db.job_db import Row
from runner.server.db.schema import METADATA, time_column

USERS = Table(
    "auth_users",
    METADATA,
    Column("UserName", String(64), primary_key=True),
    Column("VO", String(64), primary_key=True),
    Column("PasswordHash", String(255)),
    time_column("CreationTime", nullable=False),
)
USER_GROUPS = Table(
    "auth_user_groups",
    METADATA,
    Column("UserName", String(64), primary_key=True),
    Column("VO", String(64), primary_key=True),
    Column("GroupName", String(64), primary_key=True),
)
LOGIN_CODES = Table(
    "auth_login_codes",
    METADATA,
    Column("CodeHash", String(64), primary_key=True),
    Column("UserName", String(64), nullable=False),
    Column("VO", String(64), nullable=False),
    time_column("ExpiryTime", nullable=False),
)


class RegistryDB:
    """Users, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def users(self, vo: str) -> list[dict[str, Any]]:
        """All users of *vo* with their groups, by name."""
        found = self._connection.execute(select(USERS).where(USERS.c["VO"] == vo).order_by(USERS.c.UserName)).mappings()
        return [{**row, "Groups": self.groups_of(row["UserName"], vo)} for row in found.all()]

    def user(self, name: str, vo: str) -> Row | None:
        """One user."""
        found = select(USERS).where(*_of(USERS, name, vo))
        return self._connection.execute(found).mappings().first()

    def groups_of(self, name: str, vo: str) -> list[str]:
        """The groups that a user is in, sorted."""
        found = select(USER_GROUPS.c.GroupName).where(*_of(USER_GROUPS, name, vo))
        return sorted(self._connection.scalars(found))

    def add_user(self, name: str, vo: str, password_hash: str | None, now_ns: int) -> None:
        """A new user, in no group."""
        values = {"UserName": name, "VO": vo, "PasswordHash": password_hash, "CreationTime": now_ns}
        self._connection.execute(insert(USERS), values)

    def set_password(self, name: str, vo: str, password_hash: str | None) -> None:
        """Another password, or none."""
        where = _of(USERS, name, vo)
        self._connection.execute(update(USERS).where(*where), {"PasswordHash": password_hash})

    def set_groups(self, name: str, vo: str, groups: Iterable[str]) -> None:
        """The groups that a user is in from now on."""
        self._connection.execute(delete(USER_GROUPS).where(*_of(USER_GROUPS, name, vo)))
        rows = [{"UserName": name, "VO": vo, "GroupName": group} for group in dict.fromkeys(groups)]
        if rows:
            self._connection.execute(insert(USER_GROUPS), rows)

    def remove_user(self, name: str, vo: str) -> None:
        """Forget a user with groups and codes."""
        for table in (USER_GROUPS, LOGIN_CODES, USERS):
            self._connection.execute(delete(table).where(*_of(table, name, vo)))

    def add_code(self, code_hash: str, name: str, vo: str, expiry_ns: int) -> None:
        """A code that lets a user in once."""
        values = {"CodeHash": code_hash, "UserName": name, "VO": vo, "ExpiryTime": expiry_ns}
        self._connection.execute(insert(LOGIN_CODES), values)

    def take_code(self, code_hash: str, name: str, vo: str, now_ns: int) -> bool:
        """Whether this code is good for this user now; it is not afterwards."""
        self._connection.execute(delete(LOGIN_CODES).where(LOGIN_CODES.c.ExpiryTime <= now_ns))
        same = (LOGIN_CODES.c.CodeHash == code_hash, *_of(LOGIN_CODES, name, vo))
        return self._connection.execute(delete(LOGIN_CODES).where(*same)).rowcount == 1


def _of(table: Table, name: str, vo: str) -> tuple[ColumnElement[bool], ...]:
    """What holds for the rows of one user."""
    return table.c.UserName == name, table.c["VO"] == vo
