"""Tokens and presigned addresses."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from pathlib import Path

import jwt
import pytest

from runner.server.errors import UnauthenticatedError
from runner.server.tokens import Identity, JobClaims, Role, TokenMint, load_key
from tests.support.clock import JumpClock

KEY = b"k" * 32
ALICE = Identity("alice", "users", "local", frozenset({Role.USER}))
CLAIMS = JobClaims(7, 2, "c" * 32)


def mint(clock: JumpClock | None = None, wms_id: str = "w1", key: bytes = KEY) -> TokenMint:
    return TokenMint(key, wms_id, clock or JumpClock())


def with_claims(token: str, **changes: object) -> str:
    header, payload, signature = token.split(".")
    values = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    changed = urlsafe_b64encode(json.dumps({**values, **changes}).encode()).decode().rstrip("=")
    return f"{header}.{changed}.{signature}"


def test_a_login_token_says_who_its_bearer_is() -> None:
    """Name, group, virtual organisation and roles come back as they went in."""
    assert mint().identify(mint().login(ALICE, 60)) == ALICE


def test_a_job_token_has_its_owners_name_and_none_of_its_rights() -> None:
    """The bearer of a job token is the owner by name, but its only role is the job."""
    token, _ = mint().job(ALICE, CLAIMS, 3600)
    found = mint().identify(token)
    assert (found.name, found.group, found.roles, found.job) == ("alice", "users", frozenset({Role.JOB}), CLAIMS)


def test_tokens_expire_by_the_clock_that_was_given() -> None:
    """A token is good until its time is over, and not a second longer, though it was seen before."""
    clock = JumpClock()
    wms = mint(clock)
    token = wms.login(ALICE, 60)
    clock.advance(59)
    assert wms.identify(token) == ALICE
    clock.advance(1)
    with pytest.raises(UnauthenticatedError, match="expired"):
        wms.identify(token)


def test_a_token_that_was_seen_before_is_none_for_another_purpose() -> None:
    """What was verified under one key says nothing under the other: a login is no permit, before and after."""
    wms = mint()
    token = wms.login(ALICE, 60)
    assert wms.identify(token) == ALICE
    with pytest.raises(UnauthenticatedError):
        wms.read_presigned("sandbox", token)


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "\udcff", "x" * 100_000])
def test_rubbish_is_no_token(token: str) -> None:
    """Whatever is not a token is refused, and nothing else happens."""
    with pytest.raises(UnauthenticatedError):
        mint().identify(token)


def test_changed_tokens_are_refused() -> None:
    """Whoever gives himself a right breaks the signature."""
    token = mint().login(ALICE, 60)
    with pytest.raises(UnauthenticatedError):
        mint().identify(with_claims(token, dirac_properties=["JobAdministrator"]))


def test_unsigned_tokens_are_refused() -> None:
    """The algorithm "none" is not one of ours."""
    claims = jwt.decode(mint().login(ALICE, 60), options={"verify_signature": False})
    with pytest.raises(UnauthenticatedError):
        mint().identify(jwt.encode(claims, None, algorithm="none"))


def test_job_tokens_of_another_wms_are_refused() -> None:
    """JobIDs of two WMSs are alike, so a job token names its WMS, even if both had one key."""
    token, _ = mint(wms_id="w2").job(ALICE, CLAIMS, 60)
    with pytest.raises(UnauthenticatedError):
        mint().identify(token)


def test_an_address_is_good_for_one_purpose() -> None:
    """A permission to download is none to upload, and no token; and a token is no permission."""
    permit = mint().presign("download", {"sandbox": 3}, 60)
    assert mint().read_presigned("download", permit)["sandbox"] == 3
    with pytest.raises(UnauthenticatedError):
        mint().read_presigned("upload", permit)
    with pytest.raises(UnauthenticatedError):
        mint().identify(permit)
    with pytest.raises(UnauthenticatedError):
        mint().read_presigned("download", mint().login(ALICE, 60))


def test_the_key_is_made_once_and_kept_secret(tmp_path: Path) -> None:
    """The signing key survives restarts, and only its owner can read it."""
    path = tmp_path / "key"
    key = load_key(path)
    assert len(key) == 32
    assert load_key(path) == key
    assert path.stat().st_mode & 0o777 == 0o600
