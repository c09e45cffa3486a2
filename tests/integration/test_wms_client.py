"""The WMS client against a server that misbehaves."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.config import HttpConfig
from runner.errors import (
    ConfigError,
    FencedError,
    NotFoundError,
    RefusedError,
    UnauthorizedError,
    UnavailableError,
)
from runner.wms.client import WmsClient
from runner.wms.tokens import FileToken, FixedToken, write_secret
from runner.wms.transport import HttpCall
from tests.support.http_faults import RESET, FaultyServer, Reply, black_hole, faulty_server, nobody
from tests.support.waiting import at_best

TOKEN = "a-very-secret-token-of-mine"
OK_STATUS = {"success": {"7": {"Status": "Running", "MinorStatus": None}}, "failed": {}}


@pytest.fixture
def calls() -> list[HttpCall]:
    return []


@pytest.fixture
def server(calls: list[HttpCall]) -> Iterator[tuple[FaultyServer, WmsClient]]:
    with faulty_server() as (faulty, url):
        client = WmsClient(url, FixedToken(TOKEN), timeout_seconds=20.0, observe=calls.append)
        yield faulty, client
        client.close()


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Reply(500, b"Internal Server Error", {"Content-Type": "text/plain"}), UnavailableError),
        (Reply(503, {"detail": "later"}), UnavailableError),
        (Reply(429, {"detail": "slowly"}), UnavailableError),
        (Reply(408, {"detail": "too slow"}), UnavailableError),
        (Reply(302, b"", {"Location": "http://127.0.0.1:1/login"}), UnavailableError),
        (Reply(200, b"<html>Welcome to the hotel</html>", {"Content-Type": "text/html"}), UnavailableError),
        (Reply(403, b"<html>proxy</html>", {"Content-Type": "text/html"}), UnavailableError),
        (Reply(200, b'{"Jobs": [', {}), UnavailableError),
        (Reply(200, {"Job": {"JobID": "seven"}}), UnavailableError),
        (Reply(200, [1, 2]), UnavailableError),
        (Reply(401, {"detail": "Invalid JWT"}), UnauthorizedError),
        (Reply(403, {"detail": "not yours"}), UnauthorizedError),
        (Reply(404, {"detail": "Not found"}), NotFoundError),
        (Reply(409, {"detail": "exists"}), RefusedError),
        (Reply(409, {"detail": "fenced: attempt 2 is current"}, {"Jobspan-Fenced": "1"}), FencedError),
        (Reply(422, {"detail": [{"msg": "bad"}]}), RefusedError),
        (RESET, UnavailableError),
    ],
)
def test_every_bad_answer_is_one_of_our_errors(
    server: tuple[FaultyServer, WmsClient], reply: Reply, error: type[Exception]
) -> None:
    """Whatever a server answers, the caller gets an answer that makes sense or an error of our tree."""
    faulty, client = server
    faulty.script(reply)
    with pytest.raises(error) as caught:
        client.match({}, 0.0)
    assert type(caught.value) is error or error is UnavailableError
    assert TOKEN not in str(caught.value)


def test_no_token_in_messages(server: tuple[FaultyServer, WmsClient]) -> None:
    """A server that repeats our token in its answer does not bring it into our messages."""
    faulty, client = server
    faulty.script(Reply(403, {"detail": f"the token {TOKEN} is\x1b[2J bad" + "x" * 5000}))
    with pytest.raises(UnauthorizedError) as caught:
        client.peek(1)
    assert TOKEN not in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_reset_is_repeated_once_when_harmless(server: tuple[FaultyServer, WmsClient]) -> None:
    """A call that may be repeated survives one reset; a match, which may have taken a job, is not repeated."""
    faulty, client = server
    faulty.script(RESET, Reply(200, OK_STATUS))
    assert client.set_statuses(7, {"2026-01-01T00:00:00Z": {"Status": "Running"}}).status == "Running"
    assert len(faulty.seen) == 2
    faulty.script(RESET, Reply(200, {"Job": None}))
    with pytest.raises(UnavailableError):
        client.match({}, 0.0)
    assert len(faulty.seen) == 3


def test_nobody_there_is_said_in_the_words_of_the_system() -> None:
    """A refused connection is an UnavailableError that names the address and the reason, and no secret."""
    client = WmsClient(nobody(), FixedToken(TOKEN))
    with pytest.raises(UnavailableError, match="Connection refused"):
        client.info()
    client.close()


def test_a_black_hole_is_left_in_time(calls: list[HttpCall]) -> None:
    """A server that never answers costs the timeout and not more."""

    def seconds(number: int) -> float:
        with pytest.raises(UnavailableError, match="did not answer in time"):
            client.parameters(3)
        assert [(call.template, call.status_code, call.error_type) for call in calls[number:]] == [
            ("/api/jobspan/jobs/{id}/parameters", 0, "timeout")
        ]
        return (calls[number].end_boottime_ns - calls[number].start_boottime_ns) / 1e9

    with (
        black_hole() as url,
        contextlib.closing(WmsClient(url, FixedToken(TOKEN), timeout_seconds=0.2, observe=calls.append)) as client,
    ):
        at_best(2.0, seconds)


def test_a_half_answer_is_none(server: tuple[FaultyServer, WmsClient]) -> None:
    """A reply that ends in the middle is an UnavailableError, not half a value."""
    faulty, client = server
    faulty.script(Reply(200, {"JobToken": "x" * 1000}, ending="cut"))
    with pytest.raises(UnavailableError):
        client.parameters(3)


def test_retry_after_is_passed_on(server: tuple[FaultyServer, WmsClient]) -> None:
    """Seconds or a date by the server's own clock."""
    faulty, client = server
    faulty.script(Reply(503, {}, {"Retry-After": "17"}))
    with pytest.raises(UnavailableError) as caught:
        client.info()
    assert caught.value.retry_after_seconds == 17.0
    faulty.script(Reply(503, {}, {"Retry-After": "Fri, 31 Dec 2199 23:59:59 GMT"}))
    with pytest.raises(UnavailableError) as caught:
        client.info()
    assert (caught.value.retry_after_seconds or 0) > 1e9


def test_a_renewed_token_is_found_after_a_401(tmp_path: Path) -> None:
    """When the token's file has a new one, a 401 is answered by one more try with it."""
    path = tmp_path / "job.token"
    write_secret(path, "first-token")

    def answer(seen: object) -> Reply:
        write_secret(path, "second-token")
        good = "second" in faulty.seen[-1].headers["Authorization"]
        return Reply(200, {}) if good else Reply(401, {"detail": "Invalid JWT"})

    with faulty_server() as (faulty, url):
        faulty.handler = answer
        client = WmsClient(url, FileToken(path))
        assert client.parameters(1) == {}
        client.close()
    assert len(faulty.seen) == 2
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_netrc_does_not_replace_the_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: tuple[FaultyServer, WmsClient]
) -> None:
    """Neither .netrc nor proxies of the environment have a say: the session reads none of it."""
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login eve password evil\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("http_proxy", nobody())
    faulty, client = server
    faulty.script(Reply(200, {}))
    client.parameters(1)
    assert faulty.seen[0].headers["Authorization"] == f"Bearer {TOKEN}"


def test_proxies_of_the_configuration_are_used_beyond_loopback() -> None:
    """A proxy is used for other machines, and not for those that no_proxy names."""
    with faulty_server() as (faulty, url):
        faulty.script(Reply(200, {"WMSID": "x"}))
        proxied = WmsClient("http://wms.example.org", None, http=HttpConfig(proxies={"http": url}))
        assert proxied.info()["WMSID"] == "x"
        direct = WmsClient(
            "http://wms.invalid", None, http=HttpConfig(proxies={"http": url, "no_proxy": "example.org, .invalid"})
        )
        with pytest.raises(UnavailableError):
            direct.info()
        proxied.close()
        direct.close()
    assert faulty.paths == ["GET http://wms.example.org/api/jobspan/info"]


@pytest.mark.parametrize("url", ["", "ftp://x", "http://", "http://a:b@c", "http://x?y=1", "http://x:port", "x:1"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    """What cannot be the address of a WMS is a ConfigError, without the password that it may carry."""
    with pytest.raises(ConfigError) as caught:
        WmsClient(url, None)
    assert "a:b" not in str(caught.value)


def test_a_status_that_nobody_took_is_not_found(server: tuple[FaultyServer, WmsClient]) -> None:
    """DiracX tells an unknown job inside the answer, as HTTP 404 or 200; both are a NotFoundError."""
    faulty, client = server
    failed = {"success": {}, "failed": {"7": {"detail": "Not found"}}}
    for reply in (Reply(404, {"detail": failed}), Reply(200, failed), Reply(404, {"detail": "no route"})):
        faulty.script(reply)
        with pytest.raises(NotFoundError):
            client.set_statuses(7, {"2026-01-01T00:00:00Z": {"Status": "Running"}})


def test_a_refused_reschedule_is_an_answer(server: tuple[FaultyServer, WmsClient]) -> None:
    """DiracX says "maximum exceeded" as HTTP 400; the caller gets it as the job's answer."""
    faulty, client = server
    body = {"detail": {"failed": {"17": {"detail": "Maximum number of reschedules exceeded (3)"}}, "success": {}}}
    faulty.script(Reply(400, body))
    assert "Maximum" in client.reschedule([17]).failed[17].reason
    faulty.script(Reply(400, {"detail": "something else"}))
    with pytest.raises(RefusedError):
        client.reschedule([17])


def test_an_output_assigned_twice_is_assigned(server: tuple[FaultyServer, WmsClient]) -> None:
    """A repeated assignment of the same sandbox is success; another refusal is not."""
    faulty, client = server
    faulty.script(Reply(400, {"detail": "Sandbox already assigned"}))
    client.assign_output(1, "SB:x")
    faulty.script(Reply(400, {"detail": "Sandbox not found"}))
    with pytest.raises(RefusedError):
        client.assign_output(1, "SB:x")


def test_long_texts_are_cut_to_what_databases_hold(server: tuple[FaultyServer, WmsClient]) -> None:
    """MinorStatus and ApplicationStatus never exceed the columns of a DiracX server; NaN never leaves us."""
    faulty, client = server
    faulty.script(Reply(200, OK_STATUS))
    client.set_statuses(7, {"2026-01-01T00:00:00Z": {"MinorStatus": "m" * 500, "ApplicationStatus": "a" * 500}})
    (sent,) = faulty.seen[0].body["7"].values()
    assert (len(sent["MinorStatus"]), len(sent["ApplicationStatus"])) == (128, 255)
    faulty.script(Reply(200, []))
    client.heartbeat(7, {"LoadAverage": float("nan"), "CPUConsumed": 1.5})
    assert faulty.seen[1].body == {"7": {"CPUConsumed": 1.5}}


def test_a_redirect_is_not_followed_with_our_token() -> None:
    """The bearer token goes to the configured address and nowhere else."""
    with faulty_server() as (other, other_url), faulty_server() as (faulty, url):
        faulty.script(Reply(307, b"", {"Location": f"{other_url}/api"}))
        client = WmsClient(url, FixedToken(TOKEN))
        with pytest.raises(UnavailableError, match="elsewhere"):
            client.parameters(1)
        client.close()
    assert other.seen == []
