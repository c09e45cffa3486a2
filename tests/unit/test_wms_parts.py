"""The small parts of the WMS client: pauses, clock offset, tokens, timestamps."""

import base64
import itertools
import json
import random
from pathlib import Path

import pytest

from runner.backoff import Backoff
from runner.errors import ConfigError, FencedError, NotFoundError
from runner.wms.clock_offset import ClockOffset
from runner.wms.reports import LEAST_STEP_NS, Stamps
from runner.wms.tokens import FileToken, JobTokenKeeper, write_secret
from telemetry.clock import NANOSECONDS, parse_utc
from telemetry.entries import Entry
from telemetry.facts import StatusChanged
from tests.support.clock import JumpClock
from tests.support.small_files import files_of_at_most


def jwt(expiry_seconds: float) -> str:
    claims = base64.urlsafe_b64encode(json.dumps({"exp": int(expiry_seconds)}).encode()).decode().rstrip("=")
    return f"head.{claims}.signature"


def test_pauses_double_with_jitter_up_to_a_limit() -> None:
    """Each pause is between half and all of the doubled one, and never more than the longest."""
    backoff = Backoff(first_seconds=1.0, longest_seconds=8.0, dice=random.Random(1))
    pauses = [backoff.failed() for _ in range(6)]
    for pause, whole in zip(pauses, (1, 2, 4, 8, 8, 8), strict=True):
        assert whole / 2 <= pause <= whole
    assert len(set(pauses[3:])) > 1  # many clients do not come back as one
    backoff.succeeded()
    assert backoff.failed() <= 1.0


def test_a_server_may_ask_for_patience_within_reason() -> None:
    """Retry-After is kept to, but not for more than ten minutes."""
    assert Backoff().failed(17.0) >= 17.0
    assert Backoff().failed(1e9) == 600.0


def test_no_offset_while_the_clocks_may_agree() -> None:
    """A Date header says the second only; while zero fits all answers, nothing is corrected."""
    offset = ClockOffset()
    offset.assume(3.0)  # by the agent, with the match
    assert offset.nanoseconds == 3 * NANOSECONDS
    for moment_ns in (100_000_000, 100_900_000_000, 250_400_000_000):
        offset.saw(moment_ns // NANOSECONDS, moment_ns, moment_ns + 5_000_000)
        assert offset.nanoseconds == 0


def test_a_real_offset_is_found_and_narrowed_down() -> None:
    """Several answers give the offset of a WMS that is 90.3 s ahead to better than a second."""
    offset = ClockOffset()
    for sent_ns in range(0, 10 * NANOSECONDS, 370_000_000):
        there_ns = sent_ns + 90_300_000_000
        offset.saw(there_ns // NANOSECONDS, sent_ns, sent_ns + 2_000_000)
    assert abs(offset.nanoseconds - 90_300_000_000) <= 510_000_000


def test_a_clock_that_was_set_begins_anew() -> None:
    """When an answer contradicts those before, it alone counts."""
    offset = ClockOffset()
    offset.saw(1000, 1000 * NANOSECONDS, 1000 * NANOSECONDS)
    offset.saw(5000, 1001 * NANOSECONDS, 1001 * NANOSECONDS)
    assert abs(offset.nanoseconds - 4000 * NANOSECONDS) < 2 * NANOSECONDS


def test_a_stale_date_is_no_offset() -> None:
    """A server that renews its Date header once a second may show one that is almost two seconds old."""
    offset = ClockOffset()
    offset.saw(1000, 1001_900_000_000, 1001_900_000_000)
    assert offset.nanoseconds == 0


def test_timestamps_rise_by_two_milliseconds_at_least() -> None:
    """However close or reversed the entries' times are, those on the wire rise strictly, after the match."""
    stamps = Stamps()
    stamps.not_before(5 * NANOSECONDS)
    given = []
    for sequence, utc_ns in enumerate((0, 6 * NANOSECONDS, 6 * NANOSECONDS + 1000, 3 * NANOSECONDS), 1):
        entry = Entry("wrapper", sequence, utc_ns, 0, "b", StatusChanged())
        stamps.give(entry, 0)
        given.append(parse_utc(stamps.of(entry)))
    assert given[0] > 5 * NANOSECONDS
    assert all(later - earlier >= LEAST_STEP_NS for earlier, later in itertools.pairwise(given))


def test_a_token_is_read_again_when_its_file_changes(tmp_path: Path) -> None:
    """Who renews the file renews the token of all who use it."""
    path = tmp_path / "token"
    token = FileToken(path)
    with pytest.raises(ConfigError, match="no token"):
        token.token()
    write_secret(path, "first")
    assert token.token() == "first"
    write_secret(path, "second")
    assert token.renewed("first")
    assert token.token() == "second"


def test_a_token_that_finds_no_room_leaves_the_old_one(tmp_path: Path) -> None:
    """On a disk that runs full half a token is none: the one that was there serves on, and the next one is written as
    if nothing had been."""
    path = tmp_path / "token"
    write_secret(path, "first")
    with files_of_at_most(10), pytest.raises(OSError, match="File too large"):
        write_secret(path, "second" * 10)
    assert path.read_text() == "first\n"
    write_secret(path, "third")
    assert FileToken(path).token() == "third"


class Renewing:
    """Implements `tokens.RenewsJobTokens`."""

    def __init__(self, clock: JumpClock) -> None:
        self.calls = 0
        self.claims: list[str] = []
        self.error: Exception | None = None
        self._clock = clock

    def renew_job_token(self, job_id: int, claim: str = "") -> tuple[str, int]:
        self.calls += 1
        self.claims.append(claim)
        if self.error:
            raise self.error
        return jwt(self._clock.utc_ns() / NANOSECONDS + 3600 + self.calls), 0


def test_a_job_token_is_renewed_at_half_of_its_life(tmp_path: Path) -> None:
    """Not before, and again after another half."""
    clock, path = JumpClock(), tmp_path / "job.token"
    write_secret(path, jwt(clock.utc_ns() / NANOSECONDS + 3600))
    wms = Renewing(clock)
    keeper = JobTokenKeeper(wms, path, 7, clock)
    keeper.keep()
    clock.advance(1790)
    keeper.keep()
    assert wms.calls == 0
    first = path.read_text()
    clock.advance(20)
    keeper.keep()
    keeper.keep()
    assert wms.calls == 1
    assert path.read_text() != first
    clock.advance(1900)
    keeper.keep()
    assert wms.calls == 2


def test_a_refused_renewal_is_not_repeated_at_once(tmp_path: Path) -> None:
    """A WMS that does not renew (DiracX) is asked once a minute; a fence is passed on."""
    clock, path = JumpClock(), tmp_path / "job.token"
    write_secret(path, jwt(clock.utc_ns() / NANOSECONDS + 10))
    wms = Renewing(clock)
    wms.error = NotFoundError("no route", status_code=404)
    keeper = JobTokenKeeper(wms, path, 7, clock)
    for _ in range(10):
        clock.advance(5)
        keeper.keep()
    assert wms.calls == 1
    wms.error = FencedError("over", status_code=409)
    clock.advance(61)
    with pytest.raises(FencedError):
        keeper.keep()


def test_a_token_that_is_over_is_renewed_at_once(tmp_path: Path) -> None:
    """Whoever finds the job of a node that was cut off for hours begins with a fresh token."""
    clock, path = JumpClock(), tmp_path / "job.token"
    write_secret(path, jwt(clock.utc_ns() / NANOSECONDS - 7200))
    wms = Renewing(clock)
    JobTokenKeeper(wms, path, 7, clock).keep()
    assert wms.calls == 1


def test_a_token_that_was_refused_is_renewed_whatever_the_clock_says(tmp_path: Path) -> None:
    """A node whose clock is behind takes an expired token for a young one, until the WMS says otherwise."""
    clock, path = JumpClock(), tmp_path / "job.token"
    write_secret(path, jwt(clock.utc_ns() / NANOSECONDS + 3600))
    wms = Renewing(clock)
    keeper = JobTokenKeeper(wms, path, 7, clock)
    keeper.keep()
    keeper.distrust()
    keeper.keep()
    keeper.keep()
    assert wms.calls == 1


def test_the_name_of_a_dead_execution_is_taken_up(tmp_path: Path) -> None:
    """A wrapper may die between the report that binds the attempt to its claim and the token of that claim: whoever
    speaks for the attempt next does so under the same claim, once; the wrapper itself needs no call for it."""
    clock, path = JumpClock(), tmp_path / "job.token"
    write_secret(path, jwt(clock.utc_ns() / NANOSECONDS + 3600))
    wms = Renewing(clock)
    of_wrapper = JobTokenKeeper(wms, path, 7, clock)
    of_wrapper.will_claim("c1")
    of_wrapper.keep()
    assert wms.claims == []
    of_agent = JobTokenKeeper(wms, path, 7, clock)
    of_agent.keep()
    of_agent.keep()
    assert wms.claims == ["c1"]
    of_wrapper.will_claim("c2")
    of_wrapper.adopt(path.read_text().strip())
    JobTokenKeeper(wms, path, 7, clock).keep()
    assert wms.claims == ["c1"]


def test_a_date_header_that_is_renewed_once_a_second_gives_no_offset() -> None:
    """A server of this very clock whose Date is up to two seconds old is not taken for one that is slow."""
    offset = ClockOffset()
    for sent_ns in range(0, 10 * NANOSECONDS, 170_000_000):
        renewed_ns = (sent_ns - 900_000_000) // NANOSECONDS * NANOSECONDS + 900_000_000
        offset.saw(renewed_ns // NANOSECONDS, sent_ns, sent_ns + 2_000_000)
    assert offset.nanoseconds == 0
