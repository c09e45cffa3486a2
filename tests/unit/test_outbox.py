"""The outbox: what a sink has acknowledged, over restarts."""

import shutil
from pathlib import Path

import pytest

from telemetry.entries import Entry
from telemetry.facts import Fenced
from telemetry.outbox import Acknowledgements, AcknowledgementsTally, entry_name, last_try, note_try
from tests.support.journals import ListJournal
from tests.support.small_files import files_of_at_most

DEEP = b"[" * 100_000


def entries(count: int, writer: str = "wrapper") -> list[Entry]:
    journal = ListJournal(writer=writer)
    return [journal.append(Fenced(reason=str(number))) for number in range(count)]


def test_everything_is_pending_at_first(tmp_path: Path) -> None:
    """A sink that has said nothing is owed everything."""
    assert Acknowledgements(tmp_path, "sink").pending(entries(3)) == entries(3)


def test_an_acknowledgement_covers_those_before_it(tmp_path: Path) -> None:
    """A sink that took an entry is owed what stands behind it, of that writer only."""
    ours, others = entries(3), entries(2, "agent")
    acknowledgements = Acknowledgements(tmp_path, "sink")
    acknowledgements.advance(ours[1], "accepted")
    assert acknowledgements.pending(ours + others) == [ours[2], *others]


def test_acknowledgements_outlive_the_process(tmp_path: Path) -> None:
    """Whoever opens the outbox next knows what was delivered, what is dead, and nothing of other sinks."""
    first = Acknowledgements(tmp_path, "sink")
    first.advance(entries(2)[0], "dead", "422 unknown status")
    first.settle("uid/wrapper/1", "accepted")
    again = Acknowledgements(tmp_path, "sink")
    assert again.pending(entries(2)) == entries(2)[1:]
    assert again.outcome("uid/wrapper/1") == "accepted"
    assert again.outcome("uid/wrapper/2") is None
    assert Acknowledgements(tmp_path, "other").pending(entries(2)) == entries(2)


def test_positions_never_go_back(tmp_path: Path) -> None:
    """A late acknowledgement of an early entry does not make later ones pending again."""
    acknowledgements = Acknowledgements(tmp_path, "sink")
    acknowledgements.advance(entries(3)[2], "accepted")
    acknowledgements.advance(entries(3)[0], "accepted")
    assert acknowledgements.pending(entries(3)) == []
    assert Acknowledgements(tmp_path, "sink").pending(entries(3)) == []


def test_a_torn_line_means_delivered_again(tmp_path: Path) -> None:
    """What a crash left half written is not believed: better twice than never; and the file goes on."""
    acknowledgements = Acknowledgements(tmp_path, "sink")
    acknowledgements.advance(entries(2)[0], "accepted")
    path = next(tmp_path.glob("*.acks.jsonl"))
    path.write_bytes(path.read_bytes() + b'{"writer":"wrapper","seq')
    again = Acknowledgements(tmp_path, "sink")
    assert again.pending(entries(2)) == entries(2)[1:]
    again.advance(entries(2)[1], "accepted")
    assert Acknowledgements(tmp_path, "sink").pending(entries(3)) == entries(3)[2:]


def test_a_dead_letter_is_reopened(tmp_path: Path) -> None:
    """A re-opened dead letter is pending again, alone, for whoever opens the outbox next; once delivered it is not."""
    ours = entries(3)
    acknowledgements = Acknowledgements(tmp_path, "sink")
    acknowledgements.advance(ours[0], "dead", "422")
    acknowledgements.advance(ours[2], "accepted")
    acknowledgements.settle("uid/wrapper/1", "dead", "conflict")
    assert dict(acknowledgements.dead) == {entry_name(ours[0]): "422", "uid/wrapper/1": "conflict"}
    assert Acknowledgements(tmp_path, "sink").reopen(entry_name(ours[0]))
    assert Acknowledgements(tmp_path, "sink").reopen("uid/wrapper/1")
    again = Acknowledgements(tmp_path, "sink")
    assert again.pending(ours) == [ours[0]]
    assert again.outcome("uid/wrapper/1") is None
    assert again.dead == {}
    again.advance(entries(4)[3], "accepted")
    assert again.pending(ours) == [ours[0]], "an acknowledgement of what stands behind it does not deliver it"
    again.advance(ours[0], "accepted")
    again.settle("uid/wrapper/1", "accepted")
    assert Acknowledgements(tmp_path, "sink").pending(ours) == []
    assert not Acknowledgements(tmp_path, "sink").reopen(entry_name(ours[0]))


def test_what_was_accepted_is_not_reopened(tmp_path: Path) -> None:
    """A retry that comes after the sink has taken the document after all changes nothing."""
    slow, quick = Acknowledgements(tmp_path, "sink"), Acknowledgements(tmp_path, "sink")
    slow.settle("uid", "dead", "400")
    retrying = Acknowledgements(tmp_path, "sink")
    quick.settle("uid", "accepted")
    assert retrying.reopen("uid")
    assert Acknowledgements(tmp_path, "sink").outcome("uid") == "accepted"


def test_copies_are_counted(tmp_path: Path) -> None:
    """What is sent again after a lost answer, and what the sink held before, is counted and outlives the process."""
    ours = entries(2)
    acknowledgements = Acknowledgements(tmp_path, "sink")
    acknowledgements.unanswered([entry_name(ours[0])])
    acknowledgements.unanswered([entry_name(ours[0]), entry_name(ours[1])])
    acknowledgements.advance(ours[0], "accepted")
    acknowledgements.advance(ours[1], "accepted")
    acknowledgements.settle("uid", "accepted", copies=1)
    assert acknowledgements.copies == Acknowledgements(tmp_path, "sink").copies == 4


def test_lines_of_a_newer_version_are_skipped(tmp_path: Path) -> None:
    """What an acknowledgement does not say in words that we know is delivered again."""
    lines = ['{"item":"uid","outcome":"postponed"}', '{"writer":"wrapper","sequence":9,"outcome":"maybe"}', "[1]"]
    (tmp_path / "sink.acks.jsonl").write_text("\n".join(lines) + "\n")
    acknowledgements = Acknowledgements(tmp_path, "sink")
    assert acknowledgements.outcome("uid") is None
    assert acknowledgements.pending(entries(2)) == entries(2)


def test_lines_that_nest_without_end_are_skipped(tmp_path: Path) -> None:
    """What a payload of the same user can write there breaks no delivery, no list and no metric."""
    acknowledgements = Acknowledgements(tmp_path, "sink")
    acknowledgements.advance(entries(2)[0], "accepted")
    path = next(tmp_path.glob("*.acks.jsonl"))
    path.write_bytes(path.read_bytes() + DEEP + b"\n")
    assert Acknowledgements(tmp_path, "sink").pending(entries(2)) == entries(2)[1:]
    for nonsense in (DEEP, b'{"reason": "", "failures": 1, "pause_seconds": 1e999}'):
        (tmp_path / "wms.try.json").write_bytes(nonsense)
        assert last_try(tmp_path, "wms") is None


def test_an_acknowledgement_without_room_is_an_error(tmp_path: Path) -> None:
    """A disk that runs full takes the beginning of a line: that is no acknowledgement, and nobody is told that it is
    one. The next one starts a line of its own."""
    one, two, three = entries(3)
    acknowledgements = Acknowledgements(tmp_path, "sink")
    acknowledgements.advance(one, "accepted")
    size = next(tmp_path.glob("*.acks.jsonl")).stat().st_size
    with files_of_at_most(size + 10), pytest.raises(OSError, match="File too large"):
        acknowledgements.advance(two, "accepted")
    assert Acknowledgements(tmp_path, "sink").pending(entries(3)) == [two, three]
    acknowledgements.advance(three, "accepted")
    assert Acknowledgements(tmp_path, "sink").pending(entries(3)) == []


def test_a_failed_try_is_told(tmp_path: Path) -> None:
    """Whoever asks is told why the last try failed and when the next one is due; a damaged note is none."""
    assert last_try(tmp_path, "wms") is None
    note_try(tmp_path, "wms", "HTTP 503", 3, 20.0)
    found = last_try(tmp_path, "wms")
    assert found is not None
    made_utc_ns = (tmp_path / "wms.try.json").stat().st_mtime_ns
    assert (found.reason, found.failures, found.next_utc_ns - made_utc_ns) == ("HTTP 503", 3, 20_000_000_000)
    (tmp_path / "wms.try.json").write_text("{")
    assert last_try(tmp_path, "wms") is None
    note_try(tmp_path / "nowhere", "wms", "no folder", 1, 1.0)


def test_the_tally_keeps_what_was_removed(tmp_path: Path) -> None:
    """Over all attempts: dead letters that are there, copies that were ever seen, also when their folder is gone."""
    controls = [tmp_path / f"{number}.1" / "control" for number in (1, 2)]
    for control in controls:
        control.mkdir(parents=True)
        Acknowledgements(control, "sink").settle("uid", "dead", copies=2)
    tally = AcknowledgementsTally(tmp_path)
    tally.look()
    assert (tally.dead, tally.copies) == ({"sink": 2}, {"sink": 4})
    Acknowledgements(controls[0], "sink").reopen("uid")
    shutil.rmtree(controls[1])
    tally.look()
    assert (tally.dead, tally.copies) == ({"sink": 0}, {"sink": 4})


def test_several_answers_are_kept_together(tmp_path: Path) -> None:
    """Answers that came in one call are all there for whoever opens the outbox next, each with its outcome."""
    ours, others = entries(3), entries(2, "agent")
    Acknowledgements(tmp_path, "sink").advance_all([(ours[2], "accepted", ""), (others[0], "refused", "no")])
    assert Acknowledgements(tmp_path, "sink").pending(ours + others) == others[1:]
    lines = next(tmp_path.glob("*.acks.jsonl")).read_text().splitlines()
    assert ['"detail":"no"' in each for each in lines] == [False, True]
