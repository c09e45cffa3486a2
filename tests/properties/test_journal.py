"""Any crash, any interleaving: what was written can be read, once and in order."""

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from telemetry.entries import Entry
from telemetry.facts import Fenced
from telemetry.journal import SUFFIX, Journal, JournalTail, merge, read_journal
from tests.support.clock import JumpClock
from tests.support.strategies import FACTS


@given(st.lists(FACTS, min_size=1, max_size=8), st.data())
def test_a_torn_file_keeps_its_whole_lines(facts: list, data: st.DataObject) -> None:
    """Cut anywhere, the journal yields the facts before the cut, and the next writer continues behind them."""
    with tempfile.TemporaryDirectory() as name:
        folder, clock = Path(name), JumpClock()
        with Journal(folder, "wrapper", clock) as journal:
            written = [journal.append(fact) for fact in facts]
        path = folder / f"wrapper{SUFFIX}"
        content = path.read_bytes()
        cut = data.draw(st.integers(0, len(content)), label="cut")
        path.write_bytes(content[:cut])
        whole = content[:cut].count(b"\n")
        with Journal(folder, "wrapper", clock) as journal:
            last = journal.append(Fenced(reason="after the crash"))
        found = read_journal(folder)
        # A cut between a line and its newline loses nothing.
        assert found in ([*written[:whole], last], [*written[: whole + 1], last])
        assert [entry.sequence for entry in found] == list(range(1, len(found) + 1))


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6))
def test_damage_is_counted_and_skipped(lines: list[bytes]) -> None:
    """Foreign bytes between the facts cost nothing but themselves."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Journal(folder, "wrapper", JumpClock()) as journal:
            first = journal.append(Fenced(reason="1"))
        with (folder / f"wrapper{SUFFIX}").open("ab") as file:
            for line in lines:
                file.write(line + b"\n")
        with Journal(folder, "wrapper", JumpClock()) as journal:
            second = journal.append(Fenced(reason="2"))
        assert read_journal(folder) == [first, second]


STEPS = st.tuples(st.sampled_from(["agent", "wrapper"]), st.integers(0, 5), st.integers(-7200, 7200), st.booleans())


@given(st.lists(STEPS, max_size=12))
def test_merging_keeps_each_writers_order(steps: list[tuple[str, int, int, bool]]) -> None:
    """However the wall clock jumps and the machine reboots, a lone writer's facts stay in their order."""
    for writer in ("agent", "wrapper"):
        clock, entries = JumpClock(), list[Entry]()
        for number, (author, seconds, step, reboot) in enumerate(steps):
            clock.advance(seconds)
            clock.step_utc(step)
            if reboot:
                clock.reboot(boot_id=f"boot-{number + 2}")
            if author == writer:
                entries.append(entry(writer, len(entries) + 1, clock))
        assert merge(list(reversed(entries))) == entries


def entry(writer: str, sequence: int, clock: JumpClock) -> Entry:
    fact = Fenced(reason=f"{writer} {sequence}")
    return Entry(writer, sequence, clock.utc_ns(), clock.boottime_ns(), clock.boot_id, fact)


def test_writers_of_one_boot_are_ordered_by_its_clock() -> None:
    """The wall clock steps back by an hour between two writers' facts; they stay in the order of the boot's clock."""
    clock = JumpClock()
    first = entry("wrapper", 1, clock)
    clock.advance(1)
    clock.step_utc(-3600)
    second = entry("agent", 1, clock)
    assert merge([second, first]) == [first, second]


@given(st.permutations([("a", 1, "x"), ("a", 2, "y"), ("b", 1, "y"), ("b", 2, "x"), ("b", 2, "x")]))
def test_merging_what_contradicts_itself(facts: list[tuple[str, int, str]]) -> None:
    """Two writers that saw the boots in opposite order (damage, forgery) are merged all the same, nothing lost."""
    entries = [Entry(writer, sequence, 5, 5, boot, Fenced(reason="")) for writer, sequence, boot in facts]
    assert sorted(map(repr, merge(entries))) == sorted(map(repr, entries))


@given(st.lists(st.integers(0, 3), max_size=10))
def test_a_tail_sees_everything_once(batches: list[int]) -> None:
    """Looked at at any moment, the tail yields each fact exactly once, in order."""
    with tempfile.TemporaryDirectory() as name:
        folder, clock, seen = Path(name), JumpClock(), list[Entry]()
        tail, written = JournalTail(folder), list[Entry]()
        with Journal(folder, "wrapper", clock) as journal:
            for count in batches:
                for _ in range(count):
                    clock.advance(0.001)
                    written.append(journal.append(Fenced(reason="x")))
                seen.extend(tail.poll())
        assert seen == written
        assert tail.damaged == 0
