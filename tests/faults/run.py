"""The fault suite: every fault that can be injected here, and what came of it, in one table.

    python tests/faults/run.py [--only CAMPAIGN ...] [--every N] [--json FILE] [--folder DIR]

Each trial is a job of its own on a real site (WMS, agent, wrappers). Something is done to it at a named point, and
afterwards it must have one end, one current record at the WMS and one in the OTLP file, no process left, and a status
that was never reversed; both accountings reconcile. A fault without an observed effect counts as failed. The exit code
is 0 when all of that holds for all of them.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.faults import shapes
from tests.faults.campaigns import CAMPAIGNS, Campaign, Seen, missing_kinds
from tests.faults.field import field
from tests.faults.plan import Trial, Verdict
from tests.faults.table import table
from tests.faults.verdict import judge

#: Jobs that are on a site at the same time.
BATCH = 60
#: How often a trial is repeated whose point did not come along: what happens only now and then has to be waited for.
TRIES = 4


def main() -> int:
    """Run the campaigns that were asked for; print progress, findings and the table."""
    names = [each.name for each in CAMPAIGNS]
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="campaigns:\n" + "\n".join(f"  {each.name:13} {each.help}" for each in CAMPAIGNS),
    )
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="CAMPAIGN", help=", ".join(names))
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only each N-th trial of a campaign")
    parser.add_argument("--json", type=Path, help="write all verdicts to this file too")
    parser.add_argument("--folder", type=Path, help="empty folder to work in and to keep (default: a temporary one)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="jobspan-faults-") as temporary:
        folder = options.folder or Path(temporary)
        verdicts = run([each for each in CAMPAIGNS if each.name in options.only], folder, options.every)
    print(table(verdicts))
    if options.json:
        options.json.write_text(json.dumps([asdict(each) for each in verdicts], indent=1) + "\n")
    return 1 if any(each.problems for each in verdicts) else 0


def run(campaigns: Sequence[Campaign], folder: Path, every: int) -> list[Verdict]:
    """All verdicts of *campaigns*, each on a site of its own below *folder*."""
    start = time.monotonic()
    seen = look(folder / "undisturbed")
    verdicts: list[Verdict] = []
    if missing := missing_kinds(seen):
        blank = Verdict("every fact is emitted by some shape", "undisturbed", 0)
        blank.problem(f"no shape emits {sorted(missing)}")
        verdicts.append(blank)
    for campaign in campaigns:
        if reason := campaign.needs():
            print(f"          {campaign.name} is left out: {reason}", flush=True)
            continue
        trials = campaign.trials(seen)[::every]
        found = fire(campaign, trials, folder / campaign.name)
        verdicts += found
        bad = sum(1 for each in found if each.problems)
        print(f"{time.monotonic() - start:6.0f} s  {campaign.name}: {len(found)} trials, {bad} failed", flush=True)
    return verdicts


def look(folder: Path) -> Seen:
    """What undisturbed jobs pass: every shape twice, for what happens only now and then cannot be waited for."""
    points: dict[str, list[str]] = {}
    calls: dict[str, list[str]] = {}
    names = [name for name, shape in shapes.SHAPES.items() if shape.is_looked_at]
    with field(folder, 4) as site:
        jobs = site.submit_all([_undisturbed(name) for _ in range(2) for name in names])
        if left := site.run(jobs):
            raise SystemExit(f"undisturbed jobs do not end: {left}; {site.agent and site.agent.log[-3000:]}")
        for job_id, trial in jobs.items():
            passed, called = site.points(f"{job_id}.1"), site.relay.calls[job_id, 1]
            points[trial.shape] = [each for each in points.get(trial.shape, passed) if each in passed]
            calls[trial.shape] = [each for each in calls.get(trial.shape, called) if each in called]
    return Seen(points, calls)


def fire(campaign: Campaign, trials: Sequence[Trial], folder: Path) -> list[Verdict]:
    """The verdicts of *trials*; one whose point did not come along is tried again."""
    scene = campaign.scene(folder.with_name(f"{folder.name}-scene"))
    try:
        tables = {**campaign.tables, **scene.tables}
        with field(folder, campaign.slots, tables, scene.prefix) as site:
            scene.begin(site)
            jobs: dict[int, Trial] = {}
            open_: list[int] = []
            for start in range(0, len(trials), BATCH):
                batch = site.submit_all(trials[start : start + BATCH])
                open_ += site.run(batch, tick=partial(scene.tick, site, batch))
                jobs |= batch
                print(f"          {campaign.name}: {len(jobs)} of {len(trials)}", flush=True)
            missed: set[int] = set()
            again = jobs
            for _ in range(TRIES):
                late = {job_id: trial for job_id, trial in again.items() if _was_missed(site, job_id, trial)}
                missed |= late.keys()
                again = site.submit_all(late.values())
                open_ += site.run(again, tick=partial(scene.tick, site, again)) if again else []
                jobs |= again
            beside = scene.finish(site, jobs)
            site.stop_agent()
            verdicts = judge(site, jobs, open_) + beside
    finally:
        scene.close()
    for verdict in verdicts:
        if verdict.job_id in missed:
            verdict.problems = [each for each in verdict.problems if not each.startswith("never reached")]
        for problem in verdict.problems:
            print(f"          FAILED job {verdict.job_id}, {verdict.trial}: {problem[:600]}", flush=True)
    if not any(each.problems for each in verdicts):
        shutil.rmtree(folder, ignore_errors=True)
    return verdicts


def _was_missed(site: "object", job_id: int, trial: Trial) -> bool:
    done = len(site.shots(job_id)) + sum(each.job_id == job_id for each in site.relay.done)  # type: ignore[attr-defined]
    return done < len(trial.strikes) + len(trial.network)


def _undisturbed(shape: str) -> Trial:
    return Trial("undisturbed", shape)


if __name__ == "__main__":
    sys.exit(main())
