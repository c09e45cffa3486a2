"""Crashes, replays and lost acknowledgements in any order: one end, one record, one event (promises 1, 5 and 7)."""

import random
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from runner.agent.recovery import WRAPPER_DIED, recover
from telemetry.facts import AttemptEnded
from telemetry.journal import read_journal
from telemetry.ledger.builder import build
from telemetry.ledger.deliver import Backoff, SendOutcome, deliver, pending
from telemetry.ledger.record import Record, current
from telemetry.live.otlp_files import OtlpFiles, read_accounting
from telemetry.live.shipping import Shipping
from tests.support.attempts import play
from tests.support.clock import JumpClock

#: What may happen to an attempt whose wrapper has gone. "cut" is a death in the middle of what was written last.
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["recover", "cut recovery", "send", "send, answer lost", "send, note lost", "refused for now", "ship",
             "ship, note lost"]
        ),
        st.integers(0, 10**6),
    ),
    max_size=14,
)  # fmt: skip


class Story:
    """An attempt in a folder, a WMS that keeps what it gets, and the node's OTLP files."""

    def __init__(self, folder: Path, cut: int, torn: bool) -> None:
        self.control = folder / "control"
        self.clock = JumpClock()
        play(self.control, clock=self.clock)
        self.files = OtlpFiles(folder / "telemetry")
        self.kept: list[Record] = []
        _cut(self.control / "wrapper.journal.jsonl", cut, torn=torn)

    def act(self, step: str, number: int) -> None:
        """One step; those that come too early do nothing."""
        match step:
            case "recover":
                self.clock.advance(1)
                assert recover(self.control, self.clock, WRAPPER_DIED)
            case "cut recovery":
                if not self.kept and not self._is_shipped():  # what was told has been on disk before
                    _cut(self.control / "recovery.journal.jsonl", number, torn=bool(number % 2))
            case "ship" | "ship, note lost":
                self._ship(is_noted=step == "ship")
            case _:
                self._send(step)

    def finish(self) -> None:
        """What whoever comes last does."""
        for step in ("recover", "send", "ship"):
            self.act(step, 0)

    def _send(self, step: str) -> None:
        record = pending(self.control)
        if record is None:
            return

        def send(each: Record) -> SendOutcome:
            if step != "refused for now":
                known = each.key in {one.key for one in self.kept}
                self.kept.append(each)
                if step != "send, answer lost":
                    return SendOutcome("duplicate" if known else "accepted")
            return SendOutcome("retry")

        deliver(self.control, record, send, backoff=Backoff(deadline_seconds=0.0))
        if step == "send, note lost":
            _cut(self.control / "wms-accounting.acks.jsonl", 0, torn=True)

    def _ship(self, *, is_noted: bool) -> None:
        record = build(read_journal(self.control))
        if record is not None:
            Shipping(self.files).ship(self.control, record)
            if not is_noted:
                _cut(self.control / "otlp-file.acks.jsonl", 0, torn=True)

    def _is_shipped(self) -> bool:
        return bool(read_accounting(self.files.logs).events)


@given(cut=st.integers(0, 60), torn=st.booleans(), steps=STEPS, order=st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_any_order_of_crashes_gives_one_end_and_one_record(
    cut: int, torn: bool, steps: list[tuple[str, int]], order: random.Random
) -> None:
    """Wherever wrapper, recovery and deliverers die, and whatever is lost on the way: one AttemptEnded stands in the
    journal, one record at the WMS and one in the file, the same bytes each time that it was sent."""
    with tempfile.TemporaryDirectory() as folder:
        story = Story(Path(folder), cut, torn)
        for step, number in steps:
            story.act(step, number)
        story.finish()

        entries = read_journal(story.control)
        ends = [each for each in entries if isinstance(each.fact, AttemptEnded)]
        record = build(entries)
        events = [Record(event.record) for event in read_accounting(story.files.logs).events]
        assert record is not None
        assert len(ends) == 1
        assert pending(story.control) is None
        for witnessed in (story.kept, events):
            assert current(witnessed) == record
            assert len(set(witnessed)) == len({each.key for each in witnessed})  # one body under each name
        order.shuffle(entries)
        assert build(entries + order.choices(entries, k=5)) == record


def _cut(path: Path, lines: int, *, torn: bool) -> None:
    """Keep so many lines of *path* (of a file that has fewer: all), and of the next one a half if it is *torn*."""
    if not path.exists():
        return
    found = path.read_bytes().splitlines(keepends=True)
    kept = found[:lines]
    if torn and lines < len(found):
        kept.append(found[lines][: len(found[lines]) // 2])
    path.write_bytes(b"".join(kept))
