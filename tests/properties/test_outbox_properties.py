"""The outbox under any order of acknowledgements, retries, crashes and deliverers: nothing accepted is owed again."""

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from telemetry.entries import Entry, UnknownFact, to_json
from telemetry.facts import Fenced
from telemetry.journal import Journal, read_journal
from telemetry.outbox import SUFFIX, Acknowledgements, entry_name
from tests.support.clock import JumpClock
from tests.support.journals import ListJournal

ITEMS = ("uid/wrapper/1", "uid/agent/1")
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["accept", "die", "reopen", "replace", "tear"]), st.integers(0, 1), st.sampled_from(ITEMS)
    ),
    max_size=14,
)


@given(STEPS)
def test_documents_are_owed_until_they_are_accepted(steps: list[tuple[str, int, str]]) -> None:
    """Two deliverers that know nothing of each other, one of them replaced or its last line torn at any moment: what
    the file says at the end is what its whole lines say, accepted stays accepted, and only dead letters re-open."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        deliverers = [Acknowledgements(folder, "sink") for _ in range(2)]
        for step, who, item in steps:
            before = Acknowledgements(folder, "sink").outcome(item)
            match step:
                case "accept":
                    deliverers[who].settle(item, "accepted")
                    assert Acknowledgements(folder, "sink").outcome(item) == "accepted"
                case "die":
                    if before != "accepted":  # a deliverer does not send what is settled
                        deliverers[who].settle(item, "dead", "422")
                case "reopen":
                    assert Acknowledgements(folder, "sink").reopen(item) == (before == "dead")
                    assert Acknowledgements(folder, "sink").outcome(item) == (None if before == "dead" else before)
                case "replace":
                    deliverers[who] = Acknowledgements(folder, "sink")
                case "tear":
                    with (folder / f"sink{SUFFIX}").open("ab") as file:
                        file.write(b'{"item":"uid/wra')
                    deliverers = [Acknowledgements(folder, "sink") for _ in range(2)]
                    assert Acknowledgements(folder, "sink").outcome(item) == before


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["accepted", "refused", "dead", "reopen"])), max_size=14))
def test_entries_are_owed_unless_acknowledged(steps: list[tuple[int, str]]) -> None:
    """In whatever order entries are acknowledged, refused for good and re-opened (late acknowledgements, replays):
    what is pending is what stands behind the highest, and the re-opened that nobody has acknowledged since."""
    journal = ListJournal(writer="wrapper")
    entries: list[Entry] = [journal.append(Fenced(reason=str(number))) for number in range(5)]
    with tempfile.TemporaryDirectory() as name:
        acknowledgements, highest = Acknowledgements(Path(name), "sink"), 0
        dead, reopened = set[int](), set[int]()
        for index, what in steps:
            if what == "reopen":
                assert acknowledgements.reopen(entry_name(entries[index])) == (index in dead)
                reopened |= dead & {index}
                dead -= {index}
                continue
            acknowledgements.advance(entries[index], what)  # type: ignore[arg-type]
            highest = max(highest, index + 1)
            reopened -= {index}
            dead = dead | {index} if what == "dead" else dead - {index}
        expected = [each for number, each in enumerate(entries) if number >= highest or number in reopened]
        for reader in (acknowledgements, Acknowledgements(Path(name), "sink")):
            assert reader.pending(entries) == expected
            assert set(reader.dead) == {entry_name(entries[index]) for index in dead}


@given(st.text(min_size=1, max_size=20), st.dictionaries(st.text(max_size=5), st.integers() | st.text(), max_size=3))
def test_an_unknown_kind_of_fact_is_kept(kind: str, data: dict[str, int | str]) -> None:
    """A fact of a newer version is an entry with its place and its content, written back as it was."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Journal(folder, "wrapper", JumpClock()) as journal:
            first = journal.append(UnknownFact(kind=f"New{kind}", data=data))
            journal.append(Fenced(reason="behind it"))
        found = read_journal(folder)
        assert (found[0], len(found)) == (first, 2)
        assert to_json(found[0])["fact"] == f"New{kind}"
