"""What the console's page of a job makes of what the WMS has heard."""

import pytest

from dashboards.console_jobs import Moment, ending

SUBMITTED = ("Waiting", "Pilot Agent Submission", "10:00:00.000000")
ORDERED = ("Killed", "Marked for termination", "10:00:05.000000")
TAKEN = ("Killed", "Received Kill signal", "10:00:05.250000")
RESCHEDULED = ("Rescheduled", "Job Rescheduled", "10:01:00.000000")


def told(*records: tuple[str, str, str], end: str | None = None) -> list[Moment]:
    """How a job with that logging info was ended; *end* of its newest attempt."""
    history = [
        {"Status": status, "MinorStatus": minor, "Source": "S", "StatusTime": f"2026-01-15T{time}Z"}
        for status, minor, time in records
    ]
    return ending(history, [{"EndTime": None}, {"EndTime": end and f"2026-01-15T{end}Z"}])


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (told(SUBMITTED), []),
        (told(SUBMITTED, ORDERED), ["+0 s Marked for termination"]),
        (told(SUBMITTED, ORDERED, TAKEN), ["+0 s Marked for termination", "+250 ms Received Kill signal"]),
        (
            told(ORDERED, TAKEN, end="10:00:08.000000"),
            ["+0 s Marked for termination", "+250 ms Received Kill signal", "+3.00 s The attempt is over"],
        ),
        (told(ORDERED, end="09:00:00.000000"), ["+0 s Marked for termination"]),
        (told(ORDERED, TAKEN, RESCHEDULED), []),
        (told(ORDERED, RESCHEDULED, TAKEN), ["+0 s Received Kill signal"]),
    ],
)
def test_an_ending_is_that_of_the_newest_attempt(found: list[Moment], expected: list[str]) -> None:
    """From the first word of the kill to the end of the attempt, and nothing of the attempts before."""
    assert [f"{each.after} {each.what}" for each in found] == expected


def test_a_job_that_never_began_has_an_ending_too() -> None:
    """It was killed while it waited: there is no attempt."""
    history = [{"Status": "Killed", "MinorStatus": "m", "Source": "s", "StatusTime": "2026-01-15T10:00:00.000000Z"}]
    assert ending(history, []) == [Moment("+0 s", "m", "s")]
