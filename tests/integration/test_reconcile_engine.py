"""The engine of reconciliation: differences that were put in on purpose are found, all of them and no others."""

import random
from pathlib import Path
from typing import Any

import pytest

from telemetry.reconcile import findings
from telemetry.reconcile.engine import reconcile
from telemetry.reconcile.result import Finding, Outcome
from telemetry.reconcile.settings import Window
from tests.support import injected
from tests.support.sides import SECOND, START_US, attempt, classes, compared, of_file, workbench

ATTEMPTS = 100_000


def found(folder: Path, made: injected.Injected, *, digest: bool) -> tuple[Outcome, set[tuple[str, str]]]:
    """The outcome, and (uid, class) of every difference."""
    with workbench(folder) as bench:
        sides = of_file(bench, "left", made.left), of_file(bench, "right", made.right)
        outcome = reconcile(bench, sides, now_utc_ns=injected.NOW_NS, digest=digest)
        rows = bench.rows("SELECT key, if(absent <> '', kind || '_in_' || absent, kind) FROM differences")
        assert bench.value(f"SELECT count(*) FROM read_parquet('{outcome.file}')") == len(rows)
    assert len(set(rows)) == len(rows)
    return outcome, set(rows)


def brief(finding: Finding) -> tuple[Any, ...]:
    """A finding without its sums, whose last digits depend on the order."""
    return finding.name, sorted(finding.where.items()), finding.cause, finding.pairs, finding.among


def test_all_is_found_and_nothing_invented(tmp_path: Path) -> None:
    """Of 100,000 attempts each injected difference of every class is found with its class, pairs on the last value that
    a tolerance lets through agree, and hosts, groups and pilots with one cause are named: with and without digests."""
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    made = injected.inject(tmp_path / "data", ATTEMPTS, seed)
    assert {name for _, name in made.wrong} >= {
        *("missing_in_left", "missing_in_right", "duplicate", "swapped", "impossible"),
        *("cores", "wall", "cpu", "benchmark", "skew", "late"),
    }
    outcome, differences = found(tmp_path / "full", made, digest=False)
    assert (made.wrong - differences, differences - made.wrong) == (set(), set())
    systematic = {
        (each.name, each.where.get("pilot") or each.where.get("host") or each.where["site"])
        for each in outcome.findings
    }
    assert systematic == made.systematic
    assert outcome.matched == outcome.sides[0].records - len(made.held)
    by_digest, differences = found(tmp_path / "digest", made, digest=True)
    assert (made.wrong - differences, differences - made.wrong) == (set(), set())
    assert classes(by_digest) == classes(outcome)
    assert sorted(map(brief, by_digest.findings)) == sorted(map(brief, outcome.findings))
    use = by_digest.digests[0]
    # One attempt of eleven differs, so that two groups of five do; the larger ones rather (0.47 to 0.51 of the rows).
    assert use.compared_rows < 0.6 * use.rows


def without_key(number: int, *names: str, **changes: object) -> dict[str, object]:
    """An attempt without UID and without *names*."""
    return attempt(number, key=None, **dict.fromkeys(names), **changes)


def test_records_without_uid_are_found_by_batch_job(tmp_path: Path) -> None:
    """Batch job, job and attempt name an attempt where one side has no UID; of a copy one finds its partner."""
    left = [attempt(n) for n in range(30)]
    right = [without_key(n, "pilot", "start_us") for n in range(29)] + [without_key(3, "pilot", "start_us")]
    assert classes(compared(tmp_path, left, right)) == {"matched": 29, "missing_in_right": 1, "missing_in_left": 1}


def test_records_without_uid_are_found_by_pilot(tmp_path: Path) -> None:
    """Pilot, job and attempt do the same, and a difference is still one."""
    left = [attempt(n) for n in range(30)]
    right = [without_key(n, "batch", "site") for n in range(29)] + [without_key(29, "batch", "site", cores=8)]
    assert classes(compared(tmp_path, left, right)) == {"matched": 29, "cores": 1}


def test_records_without_names_are_found_by_their_times(tmp_path: Path) -> None:
    """Site, cores, start and end within two minutes: each takes the nearest, and what is further away is missing."""
    bare = ("job_id", "attempt", "pilot", "batch", "host")
    left = [attempt(n) for n in range(30)]
    near = [
        without_key(n, *bare, start_us=left[n]["start_us"] + 3 * SECOND, end_us=left[n]["end_us"] + 3 * SECOND)
        for n in range(29)
    ]
    far = without_key(29, *bare, start_us=left[29]["start_us"] - 121 * SECOND, end_us=left[29]["end_us"])
    outcome = compared(tmp_path, left, [*near, far])
    assert classes(outcome) == {"matched": 29, "missing_in_left": 1, "missing_in_right": 1}


def test_what_nobody_says_is_not_compared(tmp_path: Path) -> None:
    """A source that knows only UID and CPU is held against by CPU alone."""
    left = [attempt(n) for n in range(20)]
    right = [{"key": each["key"], "cpu_us": each["cpu_us"]} for each in left]
    right[7]["cpu_us"] += 1000 * SECOND
    assert classes(compared(tmp_path, left, right)) == {"matched": 19, "cpu": 1}


def test_the_best_record_of_an_attempt_counts(tmp_path: Path) -> None:
    """A later revision supersedes an earlier one, which is no duplicate; the same one twice is; another body too."""
    left = [attempt(n, rank=2) for n in range(9)]
    stale = attempt(1, rank=1, cpu_us=1)
    copy, other = attempt(2, rank=2), attempt(3, rank=2, cpu_us=10_001 * SECOND)
    outcome = compared(tmp_path, left, [*left, stale, copy, other])
    assert classes(outcome) == {"matched": 7, "duplicate": 2}
    assert {each.job_id for each in outcome.differences} == {2, 3}
    assert {each.right_value for each in outcome.differences} == {2}


def test_empty_sides_are_compared(tmp_path: Path) -> None:
    """Nothing against nothing agrees; nothing against something is all missing."""
    assert classes(compared(tmp_path / "a", [], [])) == {}
    assert classes(compared(tmp_path / "b", [], [attempt(1)])) == {"missing_in_left": 1}
    assert classes(compared(tmp_path / "c", [attempt(1)], [])) == {"missing_in_right": 1}


def test_causes_and_core_hours_are_told(tmp_path: Path) -> None:
    """Each difference says what is likely behind it, and how many core hours it is about."""
    left = [attempt(n) for n in range(8)]
    right = [attempt(n) for n in range(8)]
    right[1]["wall_us"] *= 4
    right[2]["cpu_us"] = right[2]["wall_us"] * 4
    right[3]["cores"] = 1
    right[4]["start_us"], right[4]["end_us"] = (left[4][each] + 3600 * SECOND for each in ("start_us", "end_us"))
    outcome = compared(tmp_path, left, right)
    told = {each.job_id: (each.kind, each.cause, round(each.core_hours, 3)) for each in outcome.differences}
    assert told == {
        1: ("wall", "right has wall clock x cores in place of wall clock", 12.0),
        2: ("cpu", "right has wall clock x cores in place of CPU", 1.222),
        3: ("cores", "right counts one core", 3.0),
        4: ("skew", "time zone or daylight saving", 0.0),
    }
    assert outcome.core_hours_at_stake == pytest.approx(12 + 4400 / 3600 + 3)


def pilot(number: int, **changes: object) -> dict[str, object]:
    """The batch job in which attempts 3n to 3n + 2 ran, a little longer than these."""
    first, last = attempt(3 * number), attempt(3 * number + 2)
    start, end = int(first["start_us"]) - 60 * SECOND, int(last["end_us"]) + 60 * SECOND
    values = {
        "batch": str(100 + number),
        "cores": 4,
        "start_us": start,
        "end_us": end,
        "wall_us": end - start,
        "cpu_us": 30_040 * SECOND,
    }
    return {**values, **changes}


def test_a_pilot_is_held_against_the_sum_of_its_payloads(tmp_path: Path) -> None:
    """A pilot that holds its payloads agrees; more CPU than theirs is overhead, time that none had is idle, less than
    theirs is a difference, and what is not known is none; one without payloads is idle, and one that the batch system
    does not know is missing."""
    packed = [attempt(n, start_us=attempt(n - n % 3)["start_us"] + n % 3 * 3600 * SECOND) for n in range(24)]
    for each in packed:
        each["end_us"] = each["start_us"] + each["wall_us"]
    ends = [int(packed[3 * n + 2]["end_us"]) + 60 * SECOND for n in range(8)]
    right = [pilot(n, end_us=ends[n], wall_us=ends[n] - int(str(pilot(n)["start_us"]))) for n in range(8)]
    right[1]["cpu_us"] = 40_000 * SECOND
    right[2]["cpu_us"] = 20_000 * SECOND
    right[3]["wall_us"] = int(str(right[3]["wall_us"])) + 7200 * SECOND
    right[4]["cores"] = 2
    right[5]["start_us"] = int(str(right[5]["start_us"])) + 1800 * SECOND
    right[6]["cpu_us"] = None
    lonely = pilot(20, wall_us=3600 * SECOND)
    outcome = compared(tmp_path, packed, [*right[:7], lonely], level="pilot")
    told = sorted((each.pilot, each.name) for each in outcome.differences)
    assert told == [
        ("120", "idle"),
        ("p1", "overhead"),
        ("p2", "cpu"),
        ("p3", "idle"),
        ("p4", "cores"),
        ("p5", "skew"),
        ("p7", "missing_in_right"),
    ]
    assert classes(outcome)["matched"] == 2


def test_two_batch_systems_may_give_the_same_number(tmp_path: Path) -> None:
    """The pilots of a site are held against what ran there, whatever ran in those of the same number elsewhere; pilots
    of which nobody says where they are, against all that bears their number."""
    begin = int(attempt(0)["start_us"])
    times = [(begin + n * 3600 * SECOND, begin + (n + 1) * 3600 * SECOND) for n in range(3)]
    left = [
        attempt(n, site=f"S{where}", key=f"{where}-{n}", start_us=start, end_us=end)
        for where in (1, 2)
        for n, (start, end) in enumerate(times)
    ]
    hours: dict[str, object] = {"wall_us": 10_920 * SECOND, "end_us": times[-1][1] + 60 * SECOND}
    here = pilot(0, site="S1", **hours)
    assert classes(compared(tmp_path / "a", left, [here], level="pilot")) == {"matched": 1}
    both = [here, pilot(0, site="S2", cpu_us=20_000 * SECOND, **hours)]
    outcome = compared(tmp_path / "b", left, both, level="pilot")
    assert (classes(outcome)["matched"], [each.name for each in outcome.differences]) == (1, ["cpu"])
    assert outcome.differences[0].key == "pilot/S2/100"
    outcome = compared(tmp_path / "c", left, [pilot(0, **hours)], level="pilot")
    assert {each.name for each in outcome.differences} == {"cpu", "wall"}


def test_sums_are_compared_by_what_they_tell_apart(tmp_path: Path) -> None:
    """A sum by site and month is held against the attempts of that site and month: number, CPU, core time."""
    left = [attempt(n, site=f"S{n % 3}") for n in range(30)]
    total = {"month": "2026-11", "jobs": 10, "cpu_us": 100_000 * SECOND, "core_us": 144_000 * SECOND}
    right = [
        {**total, "site": "S0"},
        {**total, "site": "S1", "cpu_us": 50_000 * SECOND},
        {**total, "site": "S2", "jobs": 9},
    ]
    outcome = compared(tmp_path, left, right, level="sum")
    assert classes(outcome) == {"matched": 1, "cpu": 1, "missing_in_right": 1}


def test_a_window_has_no_false_borders(tmp_path: Path) -> None:
    """Of attempts that ended within a window, a partner just outside is found; what ended outside on both sides, or on
    the other side alone, is not asked about. A pilot is compared with all that ran in it."""
    left, right = [attempt(n) for n in range(30)], [attempt(n) for n in range(30)]
    right[9]["end_us"] = right[9]["end_us"] - 3600 * SECOND
    right[9]["start_us"] = right[9]["start_us"] - 3600 * SECOND
    border = left[9]["end_us"] - 1800 * SECOND
    window = Window(since_us=border, until_us=left[20]["end_us"])
    outcome = compared(tmp_path / "a", left, right[:25], window=window)
    assert classes(outcome) == {"matched": 10, "skew": 1}
    outcome = compared(tmp_path / "b", left[:15], right, window=window)
    assert classes(outcome) == {"matched": 5, "skew": 1, "missing_in_left": 5}
    pilots = [pilot(n) for n in range(10)]
    outcome = compared(tmp_path / "c", left, pilots, level="pilot", window=window)
    assert {each.pilot for each in outcome.differences} == {"p3", "p4", "p5"}
    assert {each.name for each in outcome.differences} == {"idle"}


def packed(number: int) -> list[dict[str, Any]]:
    """The attempts of a pilot, one right after the other, and the pilot, which ends twenty seconds after them."""
    begin = int(attempt(3 * number)["start_us"])
    hours = [begin + n * 3600 * SECOND for n in range(4)]
    ran = [attempt(3 * number + n, start_us=hours[n], end_us=hours[n + 1]) for n in range(3)]
    end = hours[3] + 20 * SECOND
    return [*ran, pilot(number, start_us=begin, end_us=end, wall_us=end - begin)]


@pytest.mark.parametrize("border", ["since", "until"])
def test_a_pilot_is_of_the_window_in_which_it_ends(border: str, tmp_path: Path) -> None:
    """One that ends just after the window is not asked about, with the attempts that ended within; in the next window
    it is whole."""
    *ran, its_pilot = packed(0)
    moment = int(ran[-1]["end_us"]) + SECOND
    window = Window(until_us=moment) if border == "until" else Window(since_us=moment)
    outcome = compared(tmp_path, ran, [its_pilot], level="pilot", window=window)
    assert classes(outcome) == ({} if border == "until" else {"matched": 1})


def test_a_pilot_that_runs_is_not_due(tmp_path: Path) -> None:
    """What has ended in it waits for its end, however long ago that was; so does a pilot that was requeued, and one in
    which nothing has ended. One that the batch system does not know is missing all the same."""
    made = [packed(number) for number in range(4)]
    running: dict[str, object] = {"end_us": None, "cpu_us": None}
    pilots = [
        {**made[0][-1], **running},
        made[1][-1],
        {**made[1][-1], **running, "start_us": made[1][-1]["end_us"], "wall_us": 60 * SECOND},
        made[2][-1],
        pilot(20, **running),
    ]
    ran = [each for ended in made for each in ended[:-1]]
    outcome = compared(tmp_path, ran, pilots, level="pilot")
    assert classes(outcome) == {"matched": 1, "pending": 3, "missing_in_right": 1}
    assert [each.pilot for each in outcome.differences] == ["p3"]
    past = Window(since_us=START_US, until_us=int(made[3][-1]["end_us"]))
    outcome = compared(tmp_path / "past", ran, pilots, level="pilot", window=past)
    assert classes(outcome) == {"matched": 1, "pending": 2, "missing_in_right": 1}


@pytest.mark.parametrize("first", [1, 25, 1000])
def test_findings_are_those_of_all_records(first: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many records are looked at before all are counted: a site where most differ is found, and one where
    as many differ, but few of all, is not."""
    monkeypatch.setattr(findings, "_SOME", first)
    left = [attempt(n, site="S0" if n % 10 == 0 else "S1") for n in range(100)]
    right = [{**each, "cpu_us": each["cpu_us"] // (4 if each["job_id"] % 10 in (0, 1) else 1)} for each in left]
    outcome = compared(tmp_path, left, right)
    assert [(each.where["site"], each.pairs, each.among) for each in outcome.findings] == [("S0", 10, 10)]
    assert classes(outcome) == {"matched": 80, "cpu": 20}
