"""Executors that come, die and come back, in any order: each operation counts once, in order, and the job ends once."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.clock import JumpClock
from tests.support.wms import RunningWms, running_wms

OPERATIONS = 3
#: What may happen: the request is put again, an executor claims it, one of those reports, time passes.
STEPS = st.one_of(
    st.just(("put",)),
    st.just(("claim",)),
    st.tuples(
        st.just("report"),
        st.integers(0, 3),
        st.integers(1, OPERATIONS),
        st.sampled_from(["Done", "Done", "Done", "Retry"]),
    ),
    st.tuples(st.just("pass"), st.sampled_from([1, 30, 61])),
)


@pytest.fixture(scope="module")
def clock() -> JumpClock:
    """A clock that moves as the steps say."""
    return JumpClock()


@pytest.fixture(scope="module")
def wms(tmp_path_factory: pytest.TempPathFactory, clock: JumpClock) -> Iterator[RunningWms]:
    """One WMS for all examples; each has a job of its own."""
    with running_wms(tmp_path_factory.mktemp("wms"), clock=clock) as running:
        yield running


class World:
    """One job with one request, and executors that remember what they claimed."""

    def __init__(self, wms: RunningWms, clock: JumpClock) -> None:
        self.wms, self.clock = wms, clock
        self.job_id = wms.submit()
        self.token = (wms.match() or {})["JobToken"]
        self.claims: list[tuple[str, int]] = []  # with the end of the lease
        self.done: list[int] = []
        statuses = [{"LFN": "/local/a", "Status": "Processed"}]
        operation = {"Type": "SetFileStatus", "Arguments": {"Statuses": statuses}}
        self.document = {"RequestName": "r", "JobID": self.job_id, "Operations": [operation] * OPERATIONS}
        for status, minor in (("Running", "x"), ("Completing", "x"), ("Completed", "Pending Requests")):
            if status == "Completing":
                self.number = self.put()
            self.clock.advance(1)
            self.status(status, minor)

    def status(self, status: str, minor: str) -> None:
        """The wrapper reports."""
        at = datetime.fromtimestamp(self.clock.utc_ns() / 1e9, UTC)
        self.wms.report(self.job_id, {"Status": status, "MinorStatus": minor}, token=self.token, at=at)

    def put(self) -> int:
        """The request, again and again."""
        answer = self.wms.call("POST", "/api/jobspan/requests", self.document, token=self.token)
        return int(answer.json()["RequestID"])

    def claim(self) -> None:
        """One more executor asks; it must get nothing while another's lease lasts, or when all is done."""
        body = {"RequestIDs": [self.number]}
        found = self.wms.call("POST", "/api/jobspan/requests/claim", body, token=self.wms.admin_token).json()["Request"]
        now = self.clock.utc_ns()
        if found is None:
            return
        assert len(self.done) < OPERATIONS
        assert all(end <= now for _, end in self.claims)
        self.claims.append((found["Claim"], now + 60 * 10**9))

    def report(self, which: int, order: int, outcome: str) -> None:
        """An executor, perhaps a late one, reports an operation, perhaps not the next one."""
        if which >= len(self.claims):
            return
        claim, _ = self.claims[which]
        path = f"/api/jobspan/requests/{self.number}/operations/{order}"
        answer = self.wms.call("POST", path, {"Claim": claim, "Outcome": outcome}, token=self.wms.admin_token)
        is_repeated = order in self.done
        if answer.status_code != 200 or is_repeated:
            assert answer.status_code in (200, 409)
            return
        assert which == len(self.claims) - 1, "only the newest claim counts"
        assert order == len(self.done) + 1, "in order"
        if outcome == "Done":
            self.done.append(order)
            end = 0 if order == OPERATIONS else self.clock.utc_ns() + 60 * 10**9
            self.claims[which] = (claim, end)
        else:
            self.claims[which] = (claim, 0)


@given(steps=st.lists(STEPS, max_size=14))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_operation_counts_once(wms: RunningWms, clock: JumpClock, steps: list[Any]) -> None:
    """One claim at a time, operations in order; the job is Done exactly when all of them are."""
    world = World(wms, clock)
    for name, *arguments in steps:
        if name == "put":
            assert world.put() == world.number
        elif name == "pass":
            clock.advance(arguments[0])
        else:
            getattr(world, name)(*arguments)
    expected = ("Done", "Requests done") if len(world.done) == OPERATIONS else ("Completed", "Pending Requests")
    assert wms.status(world.job_id) == expected
    history = [(each["Status"], each["MinorStatus"]) for each in wms.logging_info(world.job_id)]
    assert history.count(("Done", "Requests done")) == (len(world.done) == OPERATIONS)
