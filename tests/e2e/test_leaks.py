"""An agent lives long: what it holds does not grow with the jobs that it has run."""

from pathlib import Path

from tests.bench.many import Belongings, belongings
from tests.bench.place import TRUE, Place, a_place
from tests.support.waiting import eventually

WARM_UP = 20
JOBS = 40
ROUNDS = 3
#: So many looks in a row must find the same: a call that is under way holds descriptors for a moment.
LOOKS = 20


def test_jobs_leave_nothing_in_the_agent() -> None:
    """After 40 jobs more an agent has no more descriptors and threads than before, and at most 5 % more memory."""
    with a_place() as place, place.process("agent", "--slots", "1") as agent:
        _run(place, WARM_UP)
        # A leak comes with every round of jobs; what has a bound (connections kept, say) comes no more.
        grown = [_growth(place, agent.pid)]
        while len(grown) < ROUNDS and grown[-1]:
            grown.append(_growth(place, agent.pid))
        assert not grown[-1], grown
    assert not Path(place.folder).exists()


def _growth(place: Place, pid: int) -> str:
    """What the agent holds more after some jobs than before them; nothing when that is nothing."""
    before = _at_rest(pid)
    _run(place, JOBS)

    def no_more() -> bool:
        after = belongings(pid)
        return len(after.descriptors or ()) <= len(before.descriptors or ()) and after.threads <= before.threads

    try:
        eventually(no_more, 60)
    except AssertionError:
        return f"{before} has become {belongings(pid)}"
    after = belongings(pid)
    return "" if after.rss_bytes <= 1.05 * before.rss_bytes else f"{before} has become {after}"


def _at_rest(pid: int) -> Belongings:
    """What the process holds when it does nothing; one that is only kept from a CPU is not at rest."""
    seen: list[Belongings] = []

    def rests() -> bool:
        if not _sleeps(pid):
            seen.clear()
            return False
        seen.append(belongings(pid))
        return len(seen) >= LOOKS and len({(each.descriptors, each.threads) for each in seen[-LOOKS:]}) == 1

    eventually(rests, 120, "an agent at rest")
    return seen[-1]


def _sleeps(pid: int) -> bool:
    """Whether every thread of the process waits for something, and none for a CPU."""
    try:
        states = [path.read_text().rpartition(")")[2].split()[0] for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    except (FileNotFoundError, ProcessLookupError):  # a thread that ended meanwhile
        return False
    return set(states) == {"S"}


def _run(place: Place, count: int) -> None:
    jobs = place.submit(TRUE, count)
    eventually(lambda: place.ended(jobs), 400, f"the end of {count} jobs")
