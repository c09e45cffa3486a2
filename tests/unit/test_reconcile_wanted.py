"""What is asked for as a source, and what a batch system prints."""

from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from telemetry.reconcile.sources import sacct
from telemetry.reconcile.sources.sacct import duration_us
from telemetry.reconcile.sources.wanted import SourceError, Wanted, parse

HEAD = "JobIDRaw|NodeList|Start|End|ElapsedRaw|TotalCPU|AllocCPUS|State\n"
SECOND = 1_000_000


def pilots(lines: Iterable[str], **options: str) -> list[Mapping[str, Any]]:
    """What is read of lines of which each can be."""
    unread: list[str] = []
    found = list(sacct.pilots(lines, unread=unread.append, **options))
    assert unread == []
    return found


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("wms=wms", Wanted(name="wms", kind="wms")),
        ("wms=ledger,grace=60", Wanted(name="wms", kind="ledger", options={"grace": "60"})),
        ("a=parquet:/data/*.parquet", Wanted(name="a", kind="parquet", where="/data/*.parquet")),
        ("db=sql:sqlite:///x.db", Wanted(name="db", kind="sql", where="sqlite:///x.db")),
        ("b=csv:a,b.csv,uid=Job ID", Wanted(name="b", kind="csv", where="a,b.csv", options={"uid": "Job ID"})),
        (
            'p=prometheus:http://h:9090,matching=site="a",job="b"',
            Wanted(name="p", kind="prometheus", where="http://h:9090", options={"matching": 'site="a"', "job": '"b"'}),
        ),
    ],
)
def test_a_source_is_a_name_a_kind_and_a_place(text: str, wanted: Wanted) -> None:
    """`NAME=KIND:WHERE,option=value`; what has no `=` belongs to what stands before it."""
    assert parse(text) == wanted


@pytest.mark.parametrize("text", ["", "wms", "=wms:x", "Name=csv:x", "a b=csv:x", "a=", "a=:x"])
def test_what_is_no_source_is_refused(text: str) -> None:
    """Everything else is an error that says how to write it."""
    with pytest.raises(SourceError, match="NAME=KIND:WHERE"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("00:00:01", 1),
        ("01:02:03", 3723),
        ("2-01:00:00", 176400),
        ("05:06.5", 306.5),
        ("77", 77),
        ("", None),
        ("x", None),
    ],
)
def test_durations_of_slurm(text: str, seconds: float | None) -> None:
    """`[days-][hours:]minutes:seconds`, with fractions, or bare seconds."""
    assert duration_us(text) == (None if seconds is None else seconds * SECOND)


def test_every_job_that_used_something_is_a_pilot() -> None:
    """Steps belong to their job, OUT_OF_MEMORY or CANCELLED count, one that runs has no end and no CPU yet, and one
    that has not started is none."""
    lines = [
        HEAD,
        "17|wn1|2026-11-01T10:00:00|2026-11-01T11:00:00|3600|00:50:00|4|OUT_OF_MEMORY\n",
        "17.batch|wn1|2026-11-01T10:00:00|2026-11-01T11:00:00|3600|00:50:00|4|OUT_OF_MEMORY\n",
        "18|wn1|2026-11-01T10:00:00|2026-11-01T11:00:00|3600|00:50:00|4|CANCELLED by 1000\n",
        "19|wn1|2026-11-01T10:00:00|Unknown|100|00:00:00|4|RUNNING\n",
        "20||Unknown|Unknown|0|00:00:00|1|PENDING\n",
        "21||None|2026-11-01T11:00:00|0|00:00:00|1|CANCELLED by 0\n",
    ]
    found = pilots(lines, site="S")
    assert [(each["batch"], each["cores"], each["wall_us"], each["cpu_us"]) for each in found] == [
        ("17", 4, 3600 * SECOND, 3000 * SECOND),
        ("18", 4, 3600 * SECOND, 3000 * SECOND),
        ("19", 4, 100 * SECOND, None),
    ]
    assert [each["end_us"] and each["end_us"] - each["start_us"] for each in found] == [3600 * SECOND] * 2 + [None]
    assert {each["site"] for each in found} == {"S"}


def test_the_cpu_of_a_job_whose_steps_still_end_is_not_known() -> None:
    """As sacct tells of a job right after it was cancelled: it has ended, its step has not, and its CPU is said to be
    0; the run of it before, which was requeued, is complete."""
    lines = [
        HEAD,
        "17|wn1|2026-11-01T09:00:00|2026-11-01T10:00:00|3600|00:50:00|4|REQUEUED\n",
        "17.batch|wn1|2026-11-01T09:00:00|2026-11-01T10:00:00|3600|00:50:00|4|CANCELLED\n",
        "17|wn1|2026-11-01T10:00:00|2026-11-01T11:00:00|3600|00:00:00|4|CANCELLED by 0\n",
        "17.batch|wn1|2026-11-01T10:00:00|Unknown|3600|00:00:00|4|RUNNING\n",
    ]
    assert [each["cpu_us"] for each in pilots(lines)] == [3000 * SECOND, None]


def test_the_hour_that_comes_twice_is_told_by_the_length() -> None:
    """02:30 in the night in which summer time ends is the earlier or the later one, whichever fits the elapsed time."""
    lines = [
        HEAD,
        "1|wn1|2026-10-25T01:30:00|2026-10-25T02:30:00|3600|1|1|COMPLETED\n",
        "2|wn1|2026-10-25T01:30:00|2026-10-25T02:30:00|7200|1|1|COMPLETED\n",
    ]
    first, second = pilots(lines, zone="Europe/Berlin")
    assert second["end_us"] - first["end_us"] == 3600 * SECOND
    assert first["start_us"] == second["start_us"]


def test_wall_clock_times_cores_is_never_cpu() -> None:
    """Without TotalCPU there is nothing to compare: CPUTimeRAW is refused in its place."""
    with pytest.raises(SourceError, match="columns are missing"):
        pilots(["JobIDRaw|Start|End|ElapsedRaw|CPUTimeRAW|AllocCPUS\n"])


NAMED = "JobIDRaw|JobName|NodeList|Start|End|ElapsedRaw|TotalCPU|AllocCPUS|State\n"


def named(number: int, name: str = "pilot") -> str:
    """A line of sacct that tells the name of the job, which its owner chooses."""
    hour = f"2026-11-01T00:00:0{number}|2026-11-01T01:00:0{number}"
    return f"{number}|{name}|wn1|{hour}|3600|00:50:00|4|COMPLETED\n"


@pytest.mark.parametrize("name", ['"nightly run', '"a"', "it's", '""'])
def test_a_name_means_nothing_to_whoever_reads_the_lines(name: str) -> None:
    """sacct quotes nothing, so that a quote is a letter like others: no job is lost behind it."""
    lines = [NAMED, *(named(number, name if number in (2, 4) else "pilot") for number in range(1, 7))]
    assert [each["batch"] for each in pilots(lines)] == ["1", "2", "3", "4", "5", "6"]


@pytest.mark.parametrize(
    "damaged",
    [
        named(3)[:20],
        named(3)[:-15],
        named(3, "a|b"),
        named(3).replace("2026", "26"),
        named(3).replace("|3600|", "|an hour|"),
        named(3).replace("|00:50:00|", "|INVALID|"),
        named(3).replace("|4|", "|2K|"),
    ],
)
def test_a_line_that_cannot_be_read_is_told_and_hides_no_other(damaged: str) -> None:
    """A torn line, one with a field more, and one with a value that is none; the head of a further file is no such."""
    unread: list[str] = []
    lines = [NAMED, named(1), damaged, NAMED, named(5)]
    assert [each["batch"] for each in sacct.pilots(lines, unread=unread.append)] == ["1", "5"]
    assert unread == [damaged.rstrip("\n")]
