"""Digests spare records, and hide nothing; what was worked out of files is kept as long as these stay as they are."""

import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from telemetry.live.otlp import log_line
from telemetry.live.spans import render
from telemetry.reconcile import kept
from telemetry.reconcile.engine import reconcile
from telemetry.reconcile.result import Outcome
from telemetry.reconcile.settings import Window
from telemetry.reconcile.sources import otlp
from telemetry.reconcile.sources.otlp_events import flatten
from tests.support import injected
from tests.support.ledger import matched, whole_life
from tests.support.sides import NOW_NS, SECOND, attempt, classes, of_file, of_rows, workbench

RECORDS = 20_000


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Two files that differ in one record of a hundred, and may be kept although they are new."""
    monkeypatch.setattr(kept, "_MOMENT_SECONDS", 0.0)
    return injected.alike(tmp_path / "data", RECORDS, random.randrange(1 << 30), rarity=100)


def by_digests(folder: Path, files: tuple[Path, Path], *, digest: bool = True) -> Outcome:
    """The two files held against each other; tables are kept in *folder*."""
    with workbench(folder / "work", kept=folder / "kept") as bench:
        sides = of_file(bench, "left", files[0]), of_file(bench, "right", files[1])
        return reconcile(bench, sides, now_utc_ns=injected.NOW_NS, digest=digest)


def told(outcome: Outcome) -> tuple[Any, ...]:
    """What came of it, but for how it was found."""
    return outcome.sides, outcome.differences, classes(outcome)


def tables(folder: Path) -> dict[str, int]:
    """What is kept, and when it was used last."""
    return {path.name: path.stat().st_mtime_ns for path in (folder / "kept").iterdir()}


def rewrite(path: Path, select: str) -> None:
    """Other records in place of those of the file, which looks as old as before."""
    stat, other = path.stat(), path.with_suffix(".other")
    with workbench(path.parent / "rewriting") as bench:
        bench.run(f"COPY (SELECT {select} FROM read_parquet('{path}')) TO '{other}' (FORMAT parquet)")
    path.write_bytes(other.read_bytes())
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_a_second_look_takes_what_was_kept(files: tuple[Path, Path], tmp_path: Path) -> None:
    """The second run of unchanged files makes nothing anew, and finds the same; so does one without digests."""
    first = by_digests(tmp_path, files)
    made = tables(tmp_path)
    assert len(made) == 4  # of each side its sums and its digests
    second = by_digests(tmp_path, files)
    used = tables(tmp_path)
    assert used.keys() == made.keys()
    assert all(used[name] > made[name] for name in made)
    assert told(second) == told(first) == told(by_digests(tmp_path, files, digest=False))
    assert 100 < first.different < 400


def test_a_file_that_has_changed_is_read_again(files: tuple[Path, Path], tmp_path: Path) -> None:
    """A change that leaves the file as old and as many records as before is found, although digests of it were kept."""
    before = by_digests(tmp_path, files)
    rewrite(files[1], 'UID, * EXCLUDE (UID) REPLACE (CPUTime + if("JobID" = 7, 50000, 0) AS CPUTime)')
    after = by_digests(tmp_path, files)
    assert {each.job_id for each in after.differences} == {each.job_id for each in before.differences} | {7}


def test_what_was_kept_and_is_damaged_is_made_anew(files: tuple[Path, Path], tmp_path: Path) -> None:
    """Bytes that have changed in what was kept, or are gone, decide nothing."""
    first = by_digests(tmp_path, files)
    for number, path in enumerate(sorted((tmp_path / "kept").iterdir())):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content[: len(content) // (1 + number % 2)])
    assert told(by_digests(tmp_path, files)) == told(first)
    assert all(path.stem.endswith(kept._digest(path)) for path in (tmp_path / "kept").iterdir())


def test_a_file_of_this_moment_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written a moment ago may change again within the same tick of the clock: it has no identity yet."""
    assert kept._MOMENT_SECONDS >= 1.0
    monkeypatch.setattr(kept, "_MOMENT_SECONDS", 600.0)  # longer than this test may take
    path = tmp_path / "file"
    path.write_text("x")
    assert kept.identity([path], "") == ""


def test_of_rotated_files_the_new_ones_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was taken from a file of OTLP is kept: the next time only files are read that are new, have changed, or are
    damaged, which is told again."""
    monkeypatch.setattr(kept, "_MOMENT_SECONDS", 0.0)
    seen: list[str] = []
    monkeypatch.setattr(otlp, "flatten", lambda piece: seen.append(piece.path.name) or flatten(piece))
    files = [tmp_path / name for name in ("a", "b", "c")]
    for number, path in enumerate(files):
        life = whole_life(matched(number + 1))
        path.write_bytes(log_line(render(life.entries, life.record()).logs) + b"nonsense\n" * (path.name == "c"))
    found = []
    for folder, read in (("1", files[:1]), ("2", files), ("3", files)):
        if folder == "3":
            files[1].write_bytes(files[0].read_bytes())
        with workbench(tmp_path / folder, kept=tmp_path / "kept") as bench:
            relation, problems = otlp.read(bench, "otlp", read)
            jobs = [job for (job,) in bench.rows(f"SELECT job_id FROM {relation} ORDER BY job_id")]
        found.append((seen.copy(), jobs, problems))
        seen.clear()
    told = ["otlp: 1 lines of OTLP are damaged"]
    assert found == [(["a"], [1], []), (["b", "c"], [1, 2, 3], told), (["b", "c"], [1, 1, 3], told)]


def compared(
    folder: Path, left: Sequence[Any], right: Sequence[Any], window: Window | None = None, *, digest: bool = True
) -> Outcome:
    """Two tables held against each other by digests."""
    with workbench(folder) as bench:
        sides = of_rows(bench, "left", left), of_rows(bench, "right", right)
        return reconcile(bench, sides, now_utc_ns=NOW_NS, window=window, digest=digest)


def test_changes_that_cancel_are_found(tmp_path: Path) -> None:
    """Two records of one hour that have exchanged their CPU have the same sums, and are found; so are copies of two
    records where the other side has copies of two others."""
    left = [attempt(n, start_us=attempt(0)["start_us"], end_us=attempt(0)["end_us"]) for n in range(10)]
    left[3]["cpu_us"] += 3000 * SECOND
    right = [dict(each) for each in left]
    right[3]["cpu_us"], right[4]["cpu_us"] = left[4]["cpu_us"], left[3]["cpu_us"]
    assert classes(compared(tmp_path / "a", left, right)) == {"matched": 8, "swapped": 2}
    outcome = compared(tmp_path / "b", [*left, left[1], left[1]], [*left, left[2], left[2]])
    assert classes(outcome) == {"matched": 8, "duplicate": 2}


def test_what_is_within_the_tolerances_is_looked_at_and_agrees(tmp_path: Path) -> None:
    """A second more of wall clock is another digest, and no difference."""
    left = [attempt(n) for n in range(100)]
    right = [{**each, "wall_us": each["wall_us"] + SECOND * (each["job_id"] == 50)} for each in left]
    outcome = compared(tmp_path, left, right)
    assert classes(outcome) == {"matched": 100}
    assert 1 <= outcome.digests[0].compared_rows < 50


def test_a_window_has_no_false_borders_with_digests(tmp_path: Path) -> None:
    """Of what ended within a window the same is found as without digests: a partner just outside, and a later record
    of an attempt outside that counts in place of one inside."""
    left = [attempt(n, rank=1) for n in range(60)]
    right = [dict(each) for each in left]
    right[9]["end_us"] = right[9]["end_us"] - 3600 * SECOND
    right[9]["start_us"] = right[9]["start_us"] - 3600 * SECOND
    window = Window(since_us=left[9]["end_us"] - 1800 * SECOND, until_us=left[40]["end_us"])
    truer = {**right[39], "rank": 2, "end_us": window.until_us, "cpu_us": 1}
    right.append(truer)
    for folder, digest in (("a", False), ("b", True)):
        outcome = compared(tmp_path / folder, left, right, window, digest=digest)
        assert {(each.job_id, each.kind) for each in outcome.differences} >= {(9, "skew"), (39, "cpu")}, folder
        assert classes(outcome)["matched"] == 29
