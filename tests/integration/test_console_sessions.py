"""Sessions of the console on every kind of database: how long they last, how their secret changes, what ends them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from runner.config import load
from runner.server.app import open_context
from runner.server.errors import UnauthenticatedError
from runner.server.services.console_sessions import (
    IDLE_SECONDS,
    OVERLAP_SECONDS,
    ROTATION_SECONDS,
    SESSION_SECONDS,
    ConsoleSessions,
)
from runner.server.services.context import ServiceContext
from runner.server.services.passwords import digest_of
from runner.server.services.registry import Proof, Registry
from runner.server.settings import ServerSettings
from runner.server.tokens import Identity, Role
from tests.support.clock import JumpClock

PASSWORD = "correct horse battery"
CLOCK = JumpClock()


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory, database: str) -> Iterator[ServiceContext]:
    """An open WMS on each kind of database, with one user."""
    folder: Path = tmp_path_factory.mktemp("wms")
    config = load(folder=folder, environment={"HOME": str(folder)}, overrides={"WMS": {"Database": database}})
    opened = open_context(ServerSettings.from_config(config), CLOCK)
    Registry(opened).add("alice", ["local_user", "local_admin"], PASSWORD)
    yield opened
    opened.databases.close()


@pytest.fixture
def sessions(context: ServiceContext) -> ConsoleSessions:
    """What is tested."""
    return ConsoleSessions(context, Registry(context))


def opened(sessions: ConsoleSessions, context: ServiceContext, lifetime_seconds: float = 86400) -> str:
    """The secret of a new session."""
    alice = Identity("alice", "local_user", "local", frozenset({Role.USER}))
    return sessions.log_in_with_token(context.mint.login(alice, lifetime_seconds), "").secret


def session(context: ServiceContext, secret: str) -> dict[str, Any]:
    """What the database has of a session."""
    with context.databases.read() as transaction:
        return dict(transaction.console_sessions.get(digest_of(secret)) or {})


def is_over(sessions: ConsoleSessions, secret: str) -> bool:
    try:
        sessions.resume(secret, "")
    except UnauthenticatedError:
        return True
    return False


def test_it_ends_with_its_time_its_token_and_its_use(sessions: ConsoleSessions, context: ServiceContext) -> None:
    """Unused for an hour, older than twelve, or beyond its token, it is over; a page that is open is no use."""
    idle, short = opened(sessions, context), opened(sessions, context, 600)
    CLOCK.advance(601)
    assert is_over(sessions, short)
    sessions.resume(idle, "", by_hand=False)
    CLOCK.advance(IDLE_SECONDS - 600)
    assert is_over(sessions, idle)
    used = opened(sessions, context)
    for _ in range(SESSION_SECONDS // 1800 - 1):
        CLOCK.advance(1800)
        used = sessions.resume(used, "").secret
    CLOCK.advance(1800)
    assert is_over(sessions, used)


def test_the_secret_changes_and_the_one_before_ends_soon(sessions: ConsoleSessions, context: ServiceContext) -> None:
    """Both count while calls may be under way; whoever shows the old one later has copied it, and ends the session."""
    first = opened(sessions, context)
    assert sessions.resume(first, "").secret == ""
    CLOCK.advance(ROTATION_SECONDS + 1)
    second = sessions.resume(first, "").secret
    assert second not in ("", first)
    assert sessions.resume(second, "").secret == ""
    assert sessions.resume(first, "").secret == ""
    CLOCK.advance(OVERLAP_SECONDS + 1)
    assert not is_over(sessions, second)
    assert is_over(sessions, first)
    assert is_over(sessions, second)
    assert Registry(context).audit(1)[0]["Event"] == "reuse detected"


def test_a_first_page_writes_nothing(sessions: ConsoleSessions, context: ServiceContext) -> None:
    """A browser that shows the secret of its login finds the session as it was opened."""
    secret = opened(sessions, context)
    before = session(context, secret)
    assert before["ShownTime"] == before["CreationTime"]
    sessions.resume(secret, "")
    assert session(context, secret) == before


def test_an_answer_that_was_lost_ends_nothing(sessions: ConsoleSessions, context: ServiceContext) -> None:
    """A browser that never got the new secret goes on with the old one, and gets another."""
    first = opened(sessions, context)
    sessions.resume(first, "")
    CLOCK.advance(ROTATION_SECONDS + 1)
    lost = sessions.resume(first, "").secret
    CLOCK.advance(OVERLAP_SECONDS + 1)
    third = sessions.resume(first, "").secret
    assert third not in ("", lost)
    assert not is_over(sessions, third)
    assert is_over(sessions, lost)


def test_of_calls_at_once_one_gets_the_new_secret(sessions: ConsoleSessions, context: ServiceContext) -> None:
    """A page and what it fetches arrive together: there is one new secret, and none of them is refused."""
    first = opened(sessions, context)
    sessions.resume(first, "")
    CLOCK.advance(ROTATION_SECONDS + 1)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: context.databases.repeated(lambda: sessions.resume(first, "")), range(8)))
    fresh = [each.secret for each in found if each.secret]
    assert len(fresh) == 1
    assert not is_over(sessions, fresh[0])


def test_it_ends_with_what_it_stands_on(sessions: ConsoleSessions, context: ServiceContext) -> None:
    """Another password ends it, and so does leaving the group; rights are those of the group at this moment."""
    registry = Registry(context)
    first = sessions.log_in(Proof("alice", PASSWORD, ""), "local_admin")
    assert Role.ADMIN in sessions.resume(first.secret, "").identity.roles
    registry.set_password("alice", PASSWORD)
    assert is_over(sessions, first.secret)
    second = sessions.log_in(Proof("alice", PASSWORD, ""), "local_admin")
    registry.set_groups("alice", ["local_user"])
    assert is_over(sessions, second.secret)
    registry.set_groups("alice", ["local_user", "local_admin"])
    third = sessions.log_in(Proof("alice", PASSWORD, ""), "local_user")
    assert registry.end_sessions("alice") == 1
    assert is_over(sessions, third.secret)


def test_secrets_are_not_kept(sessions: ConsoleSessions, context: ServiceContext) -> None:
    """The database has a digest: whoever reads it cannot show the cookie."""
    secret = opened(sessions, context)
    with context.databases.read() as transaction:
        rows = transaction.connection.exec_driver_sql("SELECT * FROM console_sessions").fetchall()
    assert rows
    assert all(secret not in map(str, row) for row in rows)
