"""The fault suite: every fault that can be injected here, and what came of it, in one table.

    python tests/faults/run.py [--only CAMPAIGN ...] [--every N] [--json FILE] [--folder DIR]

Each trial is a job of its own on a real site (WMS, agent, wrappers). Something is done to it at a named point, and
afterwards it must have one end, one current record at the WMS and one in the OTLP file, no process left, and a status
that was never reversed; both accountings reconcile. A fault without an observed effect counts as failed. The exit code
is 0 when all of that holds for all of them; a whole run (neither --only nor --every) must also have had at least 500
faults, every campaign, and a fault at each kind of fact.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.faults import shapes
from tests.faults.campaigns import (
    CAMPAIGNS,
    OF_RECOVERY,
    OF_THE_AGENT,
    Campaign,
    Seen,
    excuse,
    kinds_of_a_wrapper,
    missing_kinds,
)
from tests.faults.field import Field, field
from tests.faults.naming import passed_by, places
from tests.faults.plan import Trial, Verdict
from tests.faults.scenes import Scene
from tests.faults.table import coverage, shortcomings, table
from tests.faults.verdict import NEVER, judge

#: Jobs that are on a site at the same time.
BATCH = 60
#: How often a trial is repeated whose point did not come along: what happens only now and then has to be waited for.
TRIES = 4
#: Undisturbed jobs of each shape that are looked at. What all of them have passed, however rare, is missed by chance in
#: all tries of a trial once in 1600 at most: p to the 6th times (1 - p) to the 5th is never more than that.
LOOKS = 6


def main() -> int:
    """Run the campaigns that were asked for; print progress, findings and the table."""
    names = [each.name for each in CAMPAIGNS]
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="campaigns:\n" + "\n".join(f"  {each.name:13} {each.help}" for each in CAMPAIGNS),
    )
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="CAMPAIGN", help=", ".join(names))
    parser.add_argument(
        "--every", type=int, default=1, metavar="N", help="only each N-th trial of a campaign that can be shortened"
    )
    parser.add_argument("--sites", type=int, default=2, metavar="N", help="campaigns at the same time (default: 2)")
    parser.add_argument("--json", type=Path, help="write all verdicts to this file too")
    parser.add_argument("--folder", type=Path, help="empty folder to work in and to keep (default: a temporary one)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="jobspan-faults-") as temporary:
        folder = options.folder or Path(temporary)
        verdicts = run([each for each in names if each in options.only], folder, options.every, options.sites)
    if options.every == 1 and set(options.only) == set(names):
        verdicts += _whole(verdicts)
    print(table(verdicts))
    print(coverage(verdicts, kinds_of_a_wrapper(), OF_RECOVERY))
    if options.json:
        options.json.write_text(json.dumps([asdict(each) for each in verdicts], indent=1) + "\n")
    return 1 if any(each.problems for each in verdicts) else 0


def run(names: Sequence[str], folder: Path, every: int, sites: int) -> list[Verdict]:
    """All verdicts of the campaigns *names*, each on a site of its own below *folder*, so many at the same time."""
    start = time.monotonic()
    seen = look(folder / "undisturbed")
    verdicts: list[Verdict] = []
    if missing := missing_kinds(seen):
        blank = Verdict("every fact is emitted by some shape", "undisturbed", 0)
        blank.problem(f"no shape emits {sorted(missing)}")
        print(f"          FAILED {blank.problems[0]}", flush=True)
        verdicts.append(blank)
    with ProcessPoolExecutor(max_workers=sites) as pool:
        running = {name: pool.submit(_campaign, name, seen, folder, every) for name in names}
        found: dict[str, list[Verdict]] = {}
        for future in as_completed(running.values()):
            (name,) = (each for each, its in running.items() if its is future)
            found[name] = future.result()
            bad = sum(1 for each in found[name] if each.problems)
            took = time.monotonic() - start
            print(f"{took:6.0f} s  {name}: {len(found[name])} trials, {bad} failed", flush=True)
    return verdicts + [verdict for name in names for verdict in found[name]]


def _whole(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """What a whole run lacks, as a verdict of its own; none when nothing."""
    blank = Verdict("the whole suite has run", "whole run", 0)
    left_out = [each.name for each in CAMPAIGNS if each.needs()]
    for problem in shortcomings(verdicts, kinds_of_a_wrapper() | OF_THE_AGENT, left_out):
        blank.problem(problem)
    _report([blank])
    return [blank] if blank.problems else []


def _campaign(name: str, seen: Seen, folder: Path, every: int) -> list[Verdict]:
    """In a process of its own: the verdicts of one campaign. One that breaks off has failed."""
    (campaign,) = (each for each in CAMPAIGNS if each.name == name)
    if reason := campaign.needs():
        print(f"          {name} is left out: {reason}", flush=True)
        return []
    try:
        return fire(campaign, campaign.every(every, seen), folder / name, partial(excuse, seen))
    except Exception:  # noqa: BLE001 - the other campaigns go on, and the table shows this one
        broken = Verdict(f"{name} broke off", name, 0)
        broken.problem(traceback.format_exc())
        print(broken.problems[0], flush=True)
        return [broken]


def look(folder: Path) -> Seen:
    """What undisturbed jobs pass: all that any of LOOKS jobs of each shape has passed, and how many did."""
    names = [name for name, shape in shapes.SHAPES.items() if shape.is_looked_at]
    with field(folder, 4) as site:
        jobs = site.submit_all([_undisturbed(name) for _ in range(LOOKS) for name in names])
        if left := site.run(jobs):
            raise SystemExit(f"undisturbed jobs do not end: {left}; {site.agent and site.agent.log[-3000:]}")
        statuses = site.statuses(jobs)
        ids = {name: [job_id for job_id, trial in jobs.items() if trial.shape == name] for name in names}
        points = {name: [site.points(f"{job_id}.1") for job_id in ids[name]] for name in names}
        calls = {name: [site.relay.calls[job_id, 1] for job_id in ids[name]] for name in names}
    return Seen(
        {name: places(points[name]) for name in names},
        {name: places(calls[name]) for name in names},
        {name: passed_by([*points[name], *calls[name]]) for name in names},
        LOOKS,
        {name: {statuses[job_id] for job_id in ids[name]} for name in names},
    )


def fire(
    campaign: Campaign, trials: Sequence[Trial], folder: Path, excused: Callable[[Trial, str], str] = lambda *_: ""
) -> list[Verdict]:
    """The verdicts of *trials*; one whose point did not come along is tried again, TRIES times.

    After that it has failed, unless *excused* (the trial, the status of its last job) says why that job need not have
    come along there: such a trial is named with the reason, and counts as no fault.
    """
    scene = campaign.scene(folder.with_name(f"{folder.name}-scene"))
    try:
        tables = {**campaign.tables, **scene.tables}
        with field(folder, campaign.slots, tables, scene.prefix, scene.certificates) as site:
            scene.begin(site)
            shooting = _Shooting(site, scene)
            for start in range(0, len(trials), BATCH):
                shooting.run(trials[start : start + BATCH])
                print(f"          {campaign.name}: {len(shooting.jobs)} of {len(trials)}", flush=True)
            shooting.repeat(excused)
            beside = scene.finish(site, shooting.jobs)
            site.stop_agent()
            verdicts = judge(site, shooting.jobs, shooting.open, scene.in_order) + beside
    finally:
        scene.close()
    for verdict in verdicts:
        if verdict.job_id in shooting.missed:
            verdict.problems = [each for each in verdict.problems if not each.startswith(NEVER)]
        verdict.excused = shooting.excused.get(verdict.job_id, "")
    _report(verdicts)
    if not any(each.problems for each in verdicts):
        shutil.rmtree(folder, ignore_errors=True)
    return verdicts


def _report(verdicts: Sequence[Verdict]) -> None:
    for verdict in verdicts:
        if verdict.excused:
            print(f"          excused: {verdict.trial}: {verdict.excused}", flush=True)
        for problem in verdict.problems:
            print(f"          FAILED job {verdict.job_id}, {verdict.trial}: {problem[:600]}", flush=True)


class _Shooting:
    """The trials of one campaign, as they become jobs."""

    def __init__(self, site: Field, scene: Scene) -> None:
        self.jobs: dict[int, Trial] = {}
        self.open: list[int] = []
        #: Jobs whose trial was repeated, or is excused, as its point did not come along.
        self.missed: set[int] = set()
        #: The last tries of those that are excused, and why.
        self.excused: dict[int, str] = {}
        self._site = site
        self._scene = scene

    def run(self, trials: Collection[Trial]) -> dict[int, Trial]:
        """One job for each."""
        batch = self._site.submit_all(trials)
        self.open += self._site.run(batch, tick=partial(self._scene.tick, self._site, batch)) if batch else []
        self.jobs |= batch
        return batch

    def repeat(self, excused: Callable[[Trial, str], str]) -> None:
        """Once more what was missed, a few times."""
        late = self._late(self.jobs)
        for _ in range(TRIES):
            self.missed |= late.keys()
            late = self._late(self.run(late.values()))
        statuses = self._site.statuses(late) if late else {}
        reasons = {job_id: excused(trial, statuses[job_id]) for job_id, trial in late.items()}
        self.excused = {job_id: reason for job_id, reason in reasons.items() if reason}
        self.missed |= self.excused.keys()

    def _late(self, jobs: Mapping[int, Trial]) -> dict[int, Trial]:
        return {job_id: trial for job_id, trial in jobs.items() if _was_missed(self._site, job_id, trial)}


def _was_missed(site: Field, job_id: int, trial: Trial) -> bool:
    done = len(site.shots(job_id)) + sum(each.job_id == job_id for each in site.relay.done)
    return done < len(shapes.SHAPES[trial.shape].strikes + trial.strikes) + len(trial.network)


def _undisturbed(shape: str) -> Trial:
    return Trial("undisturbed", shape)


if __name__ == "__main__":
    sys.exit(main())
