"""Tokens and presigned addresses."""

import hashlib
import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jwt
import pytest

from runner.errors import ConfigError
from runner.server.errors import UnauthenticatedError
from runner.server.keys import KeyRing
from runner.server.tokens import Identity, JobClaims, Role, TokenMint
from tests.support.clock import JumpClock

SECRET = b"k" * 32
EARLIER_SECONDS = 1000
ALICE = Identity("alice", "users", "local", frozenset({Role.USER}))
CLAIMS = JobClaims(7, 2, "c" * 32)
Mint = Callable[..., TokenMint]


def minting(folder: Path, clock: JumpClock | None = None, wms_id: str = "w1") -> TokenMint:
    """A mint with the keys of *folder*."""
    clock = clock or JumpClock()
    keys = KeyRing(folder / "keys.json", clock, earlier_seconds=EARLIER_SECONDS)
    return TokenMint(keys, wms_id, clock, earlier_secret=SECRET)


@pytest.fixture
def mint(tmp_path: Path) -> Mint:
    """Makes mints that share their keys."""
    return partial(minting, tmp_path)


def with_claims(token: str, **changes: object) -> str:
    header, payload, signature = token.split(".")
    values = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    changed = urlsafe_b64encode(json.dumps({**values, **changes}).encode()).decode().rstrip("=")
    return f"{header}.{changed}.{signature}"


def test_a_login_token_says_who_its_bearer_is(mint: Mint) -> None:
    """Name, group, virtual organisation and roles come back as they went in."""
    assert mint().identify(mint().login(ALICE, 60)) == ALICE


def test_a_job_token_has_its_owners_name_and_none_of_its_rights(mint: Mint) -> None:
    """The bearer of a job token is the owner by name, but its only role is the job."""
    token, _ = mint().job(ALICE, CLAIMS, 3600)
    found = mint().identify(token)
    assert (found.name, found.group, found.roles, found.job) == ("alice", "users", frozenset({Role.JOB}), CLAIMS)


def test_tokens_expire_by_the_clock_that_was_given(mint: Mint) -> None:
    """A token is good until its time is over, and not a second longer, though it was seen before."""
    clock = JumpClock()
    wms = mint(clock)
    token = wms.login(ALICE, 60)
    clock.advance(59)
    assert wms.identify(token) == ALICE
    clock.advance(1)
    with pytest.raises(UnauthenticatedError, match="expired"):
        wms.identify(token)


def test_a_token_that_was_seen_before_is_none_for_another_purpose(mint: Mint) -> None:
    """What was verified under one key says nothing under the other: a login is no permit, before and after."""
    wms = mint()
    token = wms.login(ALICE, 60)
    assert wms.identify(token) == ALICE
    with pytest.raises(UnauthenticatedError):
        wms.read_presigned("sandbox", token)


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "\udcff", "x" * 100_000])
def test_rubbish_is_no_token(mint: Mint, token: str) -> None:
    """Whatever is not a token is refused, and nothing else happens."""
    with pytest.raises(UnauthenticatedError):
        mint().identify(token)


def test_changed_tokens_are_refused(mint: Mint) -> None:
    """Whoever gives himself a right breaks the signature."""
    token = mint().login(ALICE, 60)
    with pytest.raises(UnauthenticatedError):
        mint().identify(with_claims(token, dirac_properties=["JobAdministrator"]))


def test_unsigned_tokens_are_refused(mint: Mint) -> None:
    """The algorithm "none" is not one of ours."""
    claims = jwt.decode(mint().login(ALICE, 60), options={"verify_signature": False})
    with pytest.raises(UnauthenticatedError):
        mint().identify(jwt.encode(claims, None, algorithm="none"))


def test_job_tokens_of_another_wms_are_refused(mint: Mint) -> None:
    """JobIDs of two WMSs are alike, so a job token names its WMS, even if both had one key."""
    token, _ = mint(wms_id="w2").job(ALICE, CLAIMS, 60)
    with pytest.raises(UnauthenticatedError):
        mint().identify(token)


def test_an_address_is_good_for_one_purpose(mint: Mint) -> None:
    """A permission to download is none to upload, and no token; and a token is no permission."""
    permit = mint().presign("download", {"sandbox": 3}, 60)
    assert mint().read_presigned("download", permit)["sandbox"] == 3
    with pytest.raises(UnauthenticatedError):
        mint().read_presigned("upload", permit)
    with pytest.raises(UnauthenticatedError):
        mint().identify(permit)
    with pytest.raises(UnauthenticatedError):
        mint().read_presigned("download", mint().login(ALICE, 60))


def test_the_keys_are_made_once_and_kept_secret(mint: Mint, tmp_path: Path) -> None:
    """The keys survive restarts, and only their owner can read them."""
    keys = mint().keys
    again = mint().keys
    assert (again.current.kid, again.address_secret) == (keys.current.kid, keys.address_secret)
    assert (tmp_path / "keys.json").stat().st_mode & 0o777 == 0o600


def hs256(**changes: object) -> str:
    """A token as versions before the published keys have made it."""
    claims = {
        "sub": "x",
        "vo": "local",
        "preferred_username": "alice",
        "dirac_group": "users",
        "dirac_properties": ["NormalUser"],
        "exp": JumpClock().utc_ns() // 10**9 + 60,
    }
    key = hmac.digest(SECRET, b"tokens", hashlib.sha256)
    return jwt.encode({**claims, **changes}, key, algorithm="HS256")


def test_tokens_of_earlier_versions_are_good_until_they_expire(mint: Mint) -> None:
    """A job that ran through the upgrade shows an HS256 token: it counts, and what is made in exchange is Ed25519."""
    job = {"wms_id": "w1", "job_id": 7, "attempt": 2, "claim": "c" * 32}
    found = mint().identify(hs256(dirac_properties=[], jobspan=job))
    assert found.job == CLAIMS
    assert jwt.get_unverified_header(mint().job(ALICE, CLAIMS, 60)[0])["alg"] == "EdDSA"
    clock = JumpClock()
    clock.advance(60)
    with pytest.raises(UnauthenticatedError, match="expired"):
        mint(clock).identify(hs256())
    clock.advance(EARLIER_SECONDS)
    with pytest.raises(UnauthenticatedError, match="no longer counts"):
        mint(clock).identify(hs256(exp=clock.utc_ns() // 10**9 + 60))


def test_the_published_key_signs_nothing(mint: Mint) -> None:
    """Whoever takes the public key for a shared secret gets nowhere: the header chooses no algorithm for a key."""
    wms = mint()
    (published,) = wms.keys.jwks()["keys"]
    claims = jwt.decode(wms.login(ALICE, 60), options={"verify_signature": False})
    for secret in (published["x"].encode(), urlsafe_b64decode(published["x"] + "=")):
        forged = jwt.encode(claims, secret, algorithm="HS256", headers={"kid": published["kid"]})
        with pytest.raises(UnauthenticatedError):
            wms.identify(forged)


def test_anybody_can_verify_with_the_published_keys(mint: Mint) -> None:
    """The key set has the public key by the token's kid, and no private part."""
    wms = mint()
    token = wms.login(ALICE, 60)
    (published,) = wms.keys.jwks()["keys"]
    assert "d" not in published
    key = jwt.PyJWK(published)
    assert jwt.get_unverified_header(token)["kid"] == published["kid"]
    found = jwt.decode(token, key, algorithms=["EdDSA"], options={"verify_exp": False})
    assert found["preferred_username"] == "alice"


def test_rotation_lets_tokens_live_for_the_overlap(mint: Mint) -> None:
    """After a rotation new tokens have the new key; old ones count for the overlap, seen before or not, no longer."""
    clock = JumpClock()
    wms = mint(clock)
    seen, unseen = wms.login(ALICE, 10_000), wms.login(ALICE, 10_000)
    new = mint(clock).keys.rotate(100)  # by another process
    assert wms.identify(seen) == ALICE
    assert jwt.get_unverified_header(wms.login(ALICE, 60))["kid"] == new
    assert {key["kid"] for key in wms.keys.jwks()["keys"]} > {new}
    clock.advance(99)
    assert wms.identify(unseen) == wms.identify(seen) == ALICE
    clock.advance(1)
    for token in (seen, unseen):
        with pytest.raises(UnauthenticatedError):
            wms.identify(token)
    assert [key["kid"] for key in wms.keys.jwks()["keys"]] == [new]


def test_rotation_without_overlap_ends_every_token(mint: Mint) -> None:
    """When keys are lost to somebody, nothing that they have signed counts any more, in every process at once."""
    wms = mint()
    told: list[str] = []
    wms.keys.when_changed(lambda: told.append("changed"))
    token, permit = wms.login(ALICE, 60), wms.presign("download", {}, 60)
    mint().keys.rotate(0)
    with pytest.raises(UnauthenticatedError):
        wms.identify(token)
    with pytest.raises(UnauthenticatedError):
        wms.identify(hs256())
    with pytest.raises(UnauthenticatedError):
        wms.read_presigned("download", permit)
    assert told == ["changed"]


def test_keys_that_are_damaged_while_we_run_stay_what_they_were(mint: Mint, tmp_path: Path) -> None:
    """A server that runs goes on with the keys it has; one that starts says what is wrong."""
    wms = mint()
    token = wms.login(ALICE, 60)
    (tmp_path / "keys.json").write_text("rubbish")
    assert wms.identify(token) == ALICE
    with pytest.raises(ConfigError, match="keys"):
        mint()


def test_a_refresh_token_is_good_for_one_thing(mint: Mint) -> None:
    """It says which token it is, to be exchanged; it is no token to call with, and no other token is one."""
    wms = mint()
    token = wms.refresh("j1", JumpClock().utc_ns() // 10**9 + 60)
    assert wms.read_refresh(token) == "j1"
    with pytest.raises(UnauthenticatedError):
        wms.identify(token)
    for other in (wms.login(ALICE, 60), wms.job(ALICE, CLAIMS, 60)[0]):
        with pytest.raises(UnauthenticatedError):
            wms.read_refresh(other)
