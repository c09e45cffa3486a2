"""An agent lives long: what it holds does not grow with the jobs that it has run."""

from pathlib import Path

from tests.bench.many import belongings
from tests.bench.place import TRUE, Place, a_place
from tests.support.waiting import eventually

WARM_UP = 20
JOBS = 40
#: What calls that are under way at the moment of a look hold; 40 jobs that each left one descriptor would show.
UNDER_WAY = 3


def test_jobs_leave_nothing_in_the_agent() -> None:
    """After 40 jobs more an agent has as many descriptors and threads as before, and at most 5 % more memory."""
    with a_place() as place, place.process("agent", "--slots", "1") as agent:
        _run(place, WARM_UP)
        before = belongings(agent.pid)
        _run(place, JOBS)

        def same() -> bool:
            after = belongings(agent.pid)
            more = (after.descriptors - before.descriptors, after.threads - before.threads)
            return max(more) <= UNDER_WAY

        eventually(same, 10, "as many descriptors and threads as before")
        assert belongings(agent.pid).rss_bytes <= 1.05 * before.rss_bytes
    assert not Path(place.folder).exists()


def _run(place: Place, count: int) -> None:
    jobs = place.submit(TRUE, count)
    eventually(lambda: place.ended(jobs), 120, f"the end of {count} jobs")
