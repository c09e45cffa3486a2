"""What stands between the runner and a DiracX server: descriptions that are kept, credentials that are shared."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from runner.config import HttpConfig, load
from runner.errors import ConfigError, DescriptionError, NotFoundError
from runner.job.description import from_mapping
from runner.wms.diracx.credentials import Credentials, default_path
from runner.wms.diracx.descriptions import Descriptions, check_readable
from telemetry.clock import SystemClock
from telemetry.identity import diracx_wms_id
from tests.support.http_faults import FaultyServer, Reply, Seen, faulty_server


def now() -> int:
    """Seconds of this moment, not of that in which the tests were collected."""
    return SystemClock().utc_ns() // 10**9


# --- descriptions ---------------------------------------------------------------------------------


def test_a_description_is_kept_whole(tmp_path: Path) -> None:
    """What a job is to do is read back as it was submitted, by its owner alone."""
    kept = Descriptions(tmp_path / "diracx")
    description = from_mapping({"Executable": "/bin/echo", "Arguments": "a 'b c'", "ExecutionEnvironment": ["A=1"]})
    kept.keep(7, description)
    kept.keep(12, description)
    assert kept.of(7) == description
    assert kept.known() == [7, 12]
    assert (tmp_path / "diracx" / "7.json").stat().st_mode & 0o077 == 0


def test_a_description_that_nobody_kept(tmp_path: Path) -> None:
    """The error says how to name it."""
    with pytest.raises(NotFoundError, match="--job 8=FILE"):
        Descriptions(tmp_path).of(8)
    assert Descriptions(tmp_path / "none").known() == []


@pytest.mark.parametrize(
    "given",
    [
        {"Arguments": "[a]"},
        {"Arguments": "a; b"},
        {"Arguments": 'say "x"'},
        {"JobName": "two\nlines"},
        {"OutputSandbox": ["good", "b[ad"]},
        {"Tag": ["a;b"]},
        {"Platform": "x86_64-el9"},
    ],
)
def test_what_diracx_cannot_read(given: dict[str, Any]) -> None:
    """Is refused before it is sent, wherever it stands, and the field is named."""
    (field,) = given
    with pytest.raises(DescriptionError) as caught:
        check_readable(from_mapping({"Executable": "/bin/true", **given}))
    assert caught.value.field in (field, "Tags")


def test_what_diracx_can_read() -> None:
    """Ordinary descriptions pass, with every sign that its parser bears."""
    check_readable(from_mapping({"Executable": "run.sh", "Arguments": "-n 3 --x='a b' {1,2} $HOME \\ %j #/ , = 'ü'"}))


# --- credentials ----------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[tuple[FaultyServer, str]]:
    """A server that gives new tokens, once."""
    with faulty_server(exchange) as running:
        yield running


def credentials(path: Path, url: str = "http://127.0.0.1:9") -> Credentials:
    return Credentials(path, url, http=HttpConfig(), timeout_seconds=3.0, clock=SystemClock())


def written(path: Path, **changes: Any) -> Path:
    document = {"access_token": "old", "refresh_token": "r1", "expires_on": now() + 3600}
    path.write_text(json.dumps(document | changes))
    return path


def test_a_fresh_token_is_used_as_it_is(tmp_path: Path) -> None:
    """While it has more than five minutes left nobody is asked."""
    assert credentials(written(tmp_path / "c")).token() == "old"


def test_a_file_with_nothing_but_a_token(tmp_path: Path) -> None:
    """Will do; there is nothing to exchange it by."""
    (tmp_path / "t").write_text("plain-token\n")
    ours = credentials(tmp_path / "t")
    assert ours.token() == "plain-token"
    assert not ours.renewed("plain-token")


@pytest.mark.parametrize("content", ["", "{", "{}", '{"access_token": ""}', "[1]\x00", '{"access_token": "a\\nb"}'])
def test_a_file_that_holds_none(tmp_path: Path, content: str) -> None:
    """Is an error that names the file."""
    (tmp_path / "c").write_text(content)
    with pytest.raises(ConfigError, match=str(tmp_path)):
        credentials(tmp_path / "c").token()


def test_no_file_at_all(tmp_path: Path) -> None:
    """The error says how to get one."""
    with pytest.raises(ConfigError, match="dirac login"):
        credentials(tmp_path / "none").token()


def exchange(seen: Seen) -> Reply:
    """DiracX's answer to a refresh token that may be used once."""
    return Reply(200, {"access_token": "new", "refresh_token": "r2", "expires_in": 1200, "token_type": "Bearer"})


def test_a_token_that_ends_soon_is_exchanged(tmp_path: Path, server: tuple[FaultyServer, str]) -> None:
    """By its refresh token; the file has the new ones for everybody, and stays its owner's alone."""
    faulty, url = server
    path, begun = written(tmp_path / "c", expires_on=now() + 100), now()
    assert credentials(path, url).token() == "new"
    document = json.loads(path.read_text())
    assert (document["access_token"], document["refresh_token"]) == ("new", "r2")
    assert begun + 1100 < document["expires_on"] < now() + 1400
    assert path.stat().st_mode & 0o077 == 0
    assert [seen.path for seen in faulty.seen] == ["/api/auth/token"]


def test_a_refresh_token_is_used_once(tmp_path: Path, server: tuple[FaultyServer, str]) -> None:
    """However many processes and threads find the token too old: DiracX takes a second use for a theft."""
    faulty, url = server
    path = written(tmp_path / "c", expires_on=now() + 100)
    barrier = threading.Barrier(8)

    def ask(_: int) -> str:
        mine = credentials(path, url)
        barrier.wait(10)
        return mine.token()

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(8))) == {"new"}
    assert len(faulty.seen) == 1


def test_a_refused_token_is_exchanged_though_it_seems_fresh(tmp_path: Path, server: tuple[FaultyServer, str]) -> None:
    """A 401 counts for more than the file's own word."""
    ours = credentials(written(tmp_path / "c"), server[1])
    assert ours.renewed("old")
    assert ours.token() == "new"


@pytest.mark.parametrize(
    "reply", [Reply(401, {"detail": "no"}), Reply(503, {}), Reply(200, b"<html/>"), Reply(200, [])]
)
def test_an_exchange_that_fails_leaves_the_old_token(tmp_path: Path, reply: Reply) -> None:
    """It serves as long as it may, and the file is as it was."""
    path = written(tmp_path / "c", expires_on=now() + 100)
    before = path.read_bytes()
    with faulty_server(lambda _: reply) as (_, url):
        assert credentials(path, url).token() == "old"
    assert path.read_bytes() == before


def test_where_the_official_client_keeps_them() -> None:
    """Its file is ours when none is configured."""
    assert default_path({"HOME": "/home/alice"}) == Path("/home/alice/.cache/diracx/credentials.json")
    assert default_path({"HOME": "/home/alice", "DIRACX_CREDENTIALS_PATH": "/x/c.json"}) == Path("/x/c.json")


# --- the rest -------------------------------------------------------------------------------------


def test_a_diracx_server_has_an_id_for_each_vo() -> None:
    """It follows from the issuer and the VO, so that every node names the same attempt alike."""
    ids = [diracx_wms_id(issuer, vo) for issuer in ("https://a.org", "https://b.org") for vo in ("x", "y")]
    assert len(set(ids)) == 4
    assert ids[0] == diracx_wms_id("https://a.org", "x")


def test_the_dialect_is_one_of_two(tmp_path: Path) -> None:
    """A word that is none is an error of the configuration."""
    with pytest.raises(ConfigError, match="jobspan, diracx"):
        load(folder=tmp_path, environment={}, overrides={"WMS": {"Dialect": "dirac"}})
