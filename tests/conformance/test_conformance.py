"""The short form of `make conformance`: every shape with a small burn, against every method that the machine grants."""

import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from telemetry.measure.procfs import stolen_seconds
from tests.conformance.bench import Row, Watchdog, measure, user_nobody, watching
from tests.conformance.run import line
from tests.conformance.shapes import SHAPES, Shape
from tests.conformance.witness import WITNESSES, Counted, WitnessNotGranted
from tests.support.tree import ROOT

BURN_SECONDS = 0.16


@pytest.fixture(scope="module")
def watchdog() -> Iterator[Watchdog]:
    """Our own."""
    with watching() as it:
        yield it


@pytest.fixture(scope="module")
def open_folder() -> Iterator[Path]:
    """A folder that every user of the machine can reach, which pytest's are not."""
    with tempfile.TemporaryDirectory(prefix="jobspan-conformance-") as name:
        Path(name).chmod(0o711)
        yield Path(name)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_shape(watchdog: Watchdog, open_folder: Path, shape: Shape) -> None:
    """Every granted method reports what the shape used, or bounds what it cannot see; nothing of it survives."""
    rows = [
        measure(watchdog, shape, method, burn_seconds=BURN_SECONDS, folder=open_folder, user=None)
        for method in watchdog.granted
    ]
    assert rows
    assert [line(row) for row in rows if row.problems()] == []
    if all(row.not_granted for row in rows):
        pytest.skip(rows[0].not_granted)


@pytest.mark.parametrize(("number", "shape"), list(enumerate(SHAPES)), ids=[shape.name for shape in SHAPES])
def test_shape_killed_in_the_middle(watchdog: Watchdog, open_folder: Path, number: int, shape: Shape) -> None:
    """Whatever the shape, a kill leaves nobody, and what it had used is reported. (By one method each; all in make.)"""
    method = watchdog.granted[number % len(watchdog.granted)]
    row = measure(watchdog, shape, method, burn_seconds=BURN_SECONDS, folder=open_folder, is_killed=True)
    assert row.problems() == [], line(row)


@pytest.mark.root
@pytest.mark.parametrize("name", ["auto_reaped", "stubborn_daemon"])
def test_shape_as_another_user(watchdog: Watchdog, open_folder: Path, name: str) -> None:
    """The same holds for a payload that runs under another account."""
    user = user_nobody()
    if user is None:
        pytest.skip("there is no account nobody, or no interpreter that it can reach")
    shape = next(each for each in SHAPES if each.name == name)
    for method in watchdog.granted:
        row = measure(watchdog, shape, method, burn_seconds=BURN_SECONDS, folder=open_folder, user=user)
        assert row.problems() == [], line(row)


@pytest.mark.cgroup
def test_all_methods_of_the_machine_are_measured(watchdog: Watchdog) -> None:
    """What `doctor` calls granted is what is run, control groups among it."""
    assert "cgroup2" in watchdog.granted
    assert "wait4" in watchdog.granted


@pytest.mark.parametrize("name", list(WITNESSES))
@pytest.mark.parametrize(
    "shape", [each for each in SHAPES if each.name in ("daemon", "crowd", "auto_reaped")], ids=lambda shape: shape.name
)
def test_every_witness_tells_lost_and_invented_time(open_folder: Path, name: str, shape: Shape) -> None:
    """Whoever is the witness: what is reported right conforms, and 0.1 s more or less than was used does not.

    (Of auto-reaped children the sums over those waited for tell nothing, and say so.)
    """
    try:
        with watching(by=name) as it:
            row = measure(it, shape, "wait4", burn_seconds=BURN_SECONDS, folder=open_folder)
    except WitnessNotGranted as refusal:
        pytest.skip(f"{name}: {refusal}")
    assert row.problems() == [], line(row)
    if row.reference is None:
        assert (name, shape.name) == ("waited", "auto_reaped")
        return
    assert row.witness == name
    exact = replace(row, reported=row.reference, uncertainty=0.01)
    assert exact.problems() == []
    assert replace(exact, reported=row.reference - 0.1).problems() == [LESS]
    assert replace(exact, reported=row.reference + 0.1).problems() == [MORE]


LESS = "less than was used, and not by the uncertainty"
MORE = "more than was used"
GOOD = Row(
    shape=SHAPES[0],
    method="wait4",
    user="",
    programmed=1.0,
    allowed=0.03,
    reference=1.04,
    reported=1.03,
    uncertainty=0.01,
    wall=1.1,
    reported_method="wait4",
)
LOST = replace(GOOD, shape=replace(SHAPES[0], is_auto_reaped=True), reported=0.2)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (GOOD, ""),
        (replace(GOOD, reference=None), ""),
        (replace(GOOD, method="cgroup2", reported_method="cgroup2", uncertainty=0.0), ""),
        (replace(GOOD, survivors=1), "1 survivors"),
        (replace(GOOD, exit_code=1), "the program failed with 1"),
        (replace(GOOD, reported_method="cgroup2"), "measured by cgroup2"),
        (replace(GOOD, reported=0.9), LESS),
        (replace(GOOD, reported=0.9, reference=None), LESS),
        (replace(GOOD, reported=1.2), MORE),
        (replace(GOOD, uncertainty=0.2), "uncertainty above 0.100"),
        (replace(GOOD, reference=2.0, reported=2.0), "the reference lies outside of 0.950 to 1.080"),
        (replace(GOOD, method="cgroup2", reported_method="cgroup2", reported=0.9), "error above 0.050"),
        (replace(LOST, uncertainty=0.9), ""),
        (replace(LOST, uncertainty=0.5), LESS),
        (replace(LOST, uncertainty=1e6), "uncertainty above"),
        (replace(LOST, uncertainty=0.9, reported=1.07), MORE),
        (replace(GOOD, survivors=1, not_granted="for a reason"), ""),
        (replace(GOOD, is_killed=True, exit_code=-9, reference=0.4, reported=0.39), ""),
        (replace(GOOD, is_killed=True, exit_code=-9, reference=0.4, reported=0.3), "less than was used"),
        (replace(GOOD, is_killed=True, exit_code=-9, reference=None, reported=0.3), ""),
        (replace(GOOD, is_killed=True, exit_code=-9, reference=None, reported=1.3), MORE),
    ],
)
def test_verdicts(row: Row, problem: str) -> None:
    """What is wrong is called wrong: a lost second, an invented one, a survivor, an uncertainty that covers all."""
    assert problem in "; ".join(row.problems())
    assert bool(row.problems()) == bool(problem)


@pytest.mark.parametrize(("stolen", "surplus"), [(9.0, 0.8), (0.5, 0.5), (-9.0, 0.0)])
def test_a_witness_whose_clock_goes_on_while_time_is_stolen_tells_a_range(stolen: float, surplus: float) -> None:
    """Down to its surest count, as far as so much was stolen; where nothing was, it knows exactly."""
    seen = Counted((lambda _: 5.0, lambda _: 4.2), 1, (0.0, 0.0), stolen_seconds() - stolen)
    assert seen.seconds() == 5.0
    assert seen.surplus_seconds() == pytest.approx(surplus, abs=0.1)


@pytest.mark.parametrize(
    ("adapter", "method"),
    [("sampling_watch.py", "children"), ("time_watch.py", "times"), ("time_watch.py", "gnu_time")],
)
def test_other_ways_of_measuring_are_held_against_it(adapter: str, method: str) -> None:
    """Adapters as the README describes them are measured: what sampling and waiting lose of a daemon is told."""
    command = shlex.join([sys.executable, f"tests/conformance/{adapter}"])
    narrowed = ("--burn", "0.2", "--shape", "one", "--shape", "daemon", "--method", method)
    result = subprocess.run(
        [sys.executable, "tests/conformance/run.py", *narrowed, "--watchdog", command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,  # of a busy machine
    )
    if result.returncode == 2:
        pytest.skip(result.stderr.strip())
    (daemon, *_) = [each for each in result.stdout.splitlines() if each.startswith("daemon")]
    assert result.returncode == 1, result.stderr
    assert "survivors;" in daemon, result.stdout
    assert "less than was used" in daemon, result.stdout
