"""The outbox: what a sink has acknowledged, over restarts."""

from pathlib import Path

from telemetry.facts import Entry, Fenced
from telemetry.outbox import Acknowledgements
from tests.support.journals import ListJournal


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


def test_several_answers_are_kept_together(tmp_path: Path) -> None:
    """Answers that came in one call are all there for whoever opens the outbox next, each with its outcome."""
    ours, others = entries(3), entries(2, "agent")
    Acknowledgements(tmp_path, "sink").advance_all([(ours[2], "accepted", ""), (others[0], "refused", "no")])
    assert Acknowledgements(tmp_path, "sink").pending(ours + others) == others[1:]
    lines = next(tmp_path.glob("*.acks.jsonl")).read_text().splitlines()
    assert ['"detail":"no"' in each for each in lines] == [False, True]
