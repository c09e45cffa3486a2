"""The WMS's ledger under any order and repetition of deliveries."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.server.app import open_context
from runner.server.models import MatchParams
from runner.server.services.accounting import Accounting
from runner.server.services.job_manager import JobManager
from runner.server.services.job_tokens import JobTokens
from runner.server.services.matcher import Matcher
from runner.server.services.optimization_mind import OptimizationMind
from runner.server.settings import ServerSettings
from runner.server.tokens import Identity, Role
from telemetry.clock import SystemClock
from tests.support.ledger import matched, whole_life

ADMIN = Identity("user", "local_user", "local", frozenset({Role.USER, Role.ADMIN}))
PILOT = Identity("pilot", "local_pilot", "local", frozenset({Role.PILOT}))
WITNESSES = ("wms", "agent", "wrapper")
#: A record of some witness and revision, with the right body (0) or with another one under its name.
DELIVERIES = st.lists(
    st.tuples(st.sampled_from(WITNESSES), st.integers(1, 3), st.sampled_from((0, 0, 0, 1))), min_size=1, max_size=12
)


class Ledger:
    """A WMS without HTTP."""

    def __init__(self, folder: Path) -> None:
        self.context = open_context(ServerSettings(folder=folder), SystemClock())
        self.accounting = Accounting(self.context)
        self._jobs = JobManager(self.context)
        self._optimizers = OptimizationMind(self.context)
        self._matcher = Matcher(self.context, JobTokens(self.context))

    def attempt(self) -> dict[str, Any]:
        """A new job, matched."""
        (job,) = self._jobs.submit(ADMIN, ['Executable = "/bin/true";'])
        self._optimizers.advance([job["JobID"]])
        match = self._matcher.match(PILOT, MatchParams(PilotStamp="s"))
        assert match
        return match


@pytest.fixture(scope="module")
def ledger() -> Iterator[Ledger]:
    with tempfile.TemporaryDirectory() as folder:
        made = Ledger(Path(folder))
        yield made
        made.context.databases.close()


@settings(max_examples=60, deadline=None)
@given(deliveries=DELIVERIES)
def test_one_record_counts_whatever_the_order_and_the_copies(
    ledger: Ledger, deliveries: list[tuple[str, int, int]]
) -> None:
    """The best witness's highest revision, by the body that came first; copies and conflicts are counted exactly."""
    match = ledger.attempt()
    fact = matched(match["JobID"], match["Attempt"], uid=match["UID"], wms_id=match["WMSID"])
    base = whole_life(fact).record()
    first: dict[tuple[str, int], int] = {}
    refused: set[tuple[str, int, int]] = set()
    copies = 0
    for by, revision, body in deliveries:
        record = base.replace(RecordedBy=by, Revision=revision, OutputLines=body)
        (result,) = ledger.accounting.insert(PILOT, [dict(record)])
        known = first.setdefault((by, revision), body)
        is_copy = result["Outcome"] == "duplicate"
        copies += is_copy
        if known != body:
            refused.add((by, revision, body))
            assert result["Outcome"] == "conflict"
        else:
            assert result["Outcome"] in ("inserted", "duplicate")
    held = ledger.accounting.records(ADMIN, match["JobID"], 0, 100)
    best = max(first, key=lambda each: (WITNESSES.index(each[0]), each[1]))
    (counts,) = held["Records"]
    assert (counts["RecordedBy"], counts["Revision"], counts["OutputLines"]) == (*best, first[best])
    assert held["Superseded"] == len(first) - 1
    assert held["Duplicates"] == copies == sum(1 for by, n, body in deliveries if first[by, n] == body) - len(first)
    assert len(held["Conflicts"]) == len(refused)
    assert len(ledger.accounting.history(ADMIN, match["JobID"], 0, 100)["History"]) == len(first)
