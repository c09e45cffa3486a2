"""Agents as pilots of a real Slurm: what it tells them of their end, and what sacct says beside what ran in them."""

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from runner.cli import main
from runner.compose.clients import URL_FILE
from telemetry.facts import PayloadStarted
from telemetry.journal import read_journal
from telemetry.reconcile.sources import sacct
from tests.support.databases import DatabaseServers
from tests.support.site import Site, running_site, site_config
from tests.support.slurm import COLUMNS, NODE, READY_SECONDS, Slurm, slurm
from tests.support.waiting import eventually

#: An hour, and a minute, which is less than StopMargin.
HOUR, MINUTE = "60", "1"
CORES = 4
WORK = "-c 'i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done'"
ZONE = "Europe/Berlin"
#: As the README has it for a Slurm that does not tell its jobs when they end (22.05, for one).
END = """
job=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}
export SLURM_JOB_END_TIME=${SLURM_JOB_END_TIME:-$(date -d "$(squeue -h -j ${job:-$SLURM_JOB_ID} -o %e)" +%s)}
"""


@dataclass(frozen=True)
class Batch:
    """Pilots that have ended: 0 and 1 an array's, with two jobs and one job; 2, whose time is too short for any; 3,
    which was cancelled while its job ran."""

    cluster: Slurm
    site: Site
    folder: Path
    jobs: tuple[int, int, int]
    waiting: int
    interrupted: int
    #: What sacct says of each.
    pilots: tuple[dict[str, str], ...]

    def said(self, pilot: int) -> str:
        """The output of a pilot."""
        return (self.folder / f"{pilot}.out").read_text()


def place(pilot: int) -> str:
    """The site of a pilot, for jobs that only it may take."""
    return f"LCG.Slurm{pilot}.org"


def add_pilot(folder: Path, pilot: int, site: Site) -> None:
    """The folder of a pilot, as a site would configure it: the WMS is elsewhere."""
    wms = {
        "URL": (site.config.folder / URL_FILE).read_text().strip(),
        "PilotTokenFile": str(site.config.tokens_folder / "pilot.token"),
    }
    site_config(folder / str(pilot), WMS=wms, Site={"Site": place(pilot)})


def work(site: Site, pilot: int) -> int:
    """A job for that pilot."""
    return site.submit(Executable="/bin/sh", Arguments=WORK, Site=place(pilot))


def payload_runs(pilot: Path, job_id: int) -> bool:
    """Whether a job's payload has started, as the folder of its pilot tells."""
    facts = read_journal(pilot / "jobs" / f"{job_id}.1" / "control")
    return any(isinstance(each.fact, PayloadStarted) for each in facts)


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory, database_servers: DatabaseServers) -> Iterator[Batch]:
    """All of it, when sacct has every end."""
    folder = tmp_path_factory.mktemp("slurm")
    with slurm(folder / "cluster", database_servers) as cluster, running_site(folder / "site") as site:
        site.agent.stop()
        for pilot in range(4):
            add_pilot(folder, pilot, site)
        jobs = (work(site, 0), work(site, 0), work(site, 1))
        waiting = work(site, 2)
        interrupted = site.submit(Executable="/bin/sleep", Arguments="600", DisableCPUCheck=True, Site=place(3))
        jobspan = Path(sys.executable).with_name("jobspan")
        agent = f"{jobspan} --folder {folder}/$SLURM_ARRAY_TASK_ID agent --slots 2 --drain"
        script = f"#!/bin/sh{END}exec {agent}\n"
        options = (f"--cpus-per-task={CORES}", f"--output={folder}/%a.out")
        both = cluster.submit(script, "--array=0-1", f"--time={HOUR}", *options)
        whole_seconds = script.replace("exec ", "sleep 1\nexec ")  # sacct counts in these: its idle time is not to be 0
        short = cluster.submit(whole_seconds, "--array=2", f"--time={MINUTE}", *options)
        long = cluster.submit(script, "--array=3", f"--time={HOUR}", *options)
        eventually(lambda: payload_runs(folder / "3", interrupted), READY_SECONDS, "the job that is interrupted")
        cluster.run("scancel", long)
        names = (f"{both}_0", f"{both}_1", f"{short}_2", f"{long}_3")
        lines = cluster.wait_ended(*names)
        yield Batch(cluster, site, folder, jobs, waiting, interrupted, tuple(lines[name] for name in names))


def test_an_agent_is_a_pilot_in_a_batch_job(batch: Batch) -> None:
    """Its jobs end well, and each record names the batch system and the number under which that accounts the pilot,
    of an array's task too."""
    for job_id, pilot in zip(batch.jobs, (0, 0, 1), strict=True):
        batch.site.wait(job_id, "Done")
        record = batch.site.wait_record(job_id)
        assert (record.text("BatchSystem"), record.text("BatchJobID")) == ("Slurm", batch.pilots[pilot]["JobIDRaw"])
    assert len({each["JobIDRaw"] for each in batch.pilots}) == 4
    assert [each["State"].split()[0] for each in batch.pilots] == ["COMPLETED"] * 3 + ["CANCELLED"]


def test_the_time_left_is_slurms(batch: Batch) -> None:
    """Of an hour that was asked for nearly all is left when the agent starts; of a minute too little for any job: the
    agent takes none and ends."""
    left = [int(found[1]) for pilot in range(3) if (found := re.search(r"ends in (\d+) s \(Slurm", batch.said(pilot)))]
    assert len(left) == 3, batch.said(0)
    assert 3500 < left[0] <= 3600
    assert 3500 < left[1] <= 3600
    assert left[2] <= 60
    assert "no more jobs are taken" in batch.said(2)
    assert batch.site.status(batch.waiting)[0] == "Waiting"


def test_a_cancelled_pilot_gives_its_job_back(batch: Batch) -> None:
    """Slurm signals every process of its job at the same time, the payload too: that is a preemption and no failure of
    the job, which waits for another pilot with all of its record."""
    record = batch.site.wait_record(batch.interrupted)
    assert (record.text("FinalMajorStatus"), record.text("ErrorType")) == ("Rescheduled", "preempted"), batch.said(3)
    assert record.text("BatchJobID") == batch.pilots[3]["JobIDRaw"]
    assert batch.site.status(batch.interrupted)[0] == "Waiting"


def reconcile(batch: Batch, capsys: pytest.CaptureFixture[str], **options: object) -> tuple[int, dict[str, Any]]:
    """Exit code and result of the comparison with what sacct says to somebody in another time zone."""
    (batch.folder / "jobs.txt").write_text(batch.cluster.sacct(ZONE))
    config = batch.folder / "reconcile.toml"
    config.write_text("[Reconcile]\n" + "".join(f"{name} = {value}\n" for name, value in options.items()))
    arguments = ["--json", "--folder", str(batch.site.config.folder), "--config", str(config), "reconcile"]
    slurm = f"slurm=sacct:{batch.folder / 'jobs.txt'},zone={ZONE}"
    capsys.readouterr()
    code = main([*arguments, "--source", "wms=wms", "--source", slurm])
    return code, json.loads(capsys.readouterr().out)


def classes(report: dict[str, Any]) -> dict[str, int]:
    """Pilots by class."""
    return {each["class"]: each["pairs"] for each in report["tables"]["classes"] if each["pairs"]}


def test_each_pilot_agrees_with_the_sum_of_what_ran_in_it(batch: Batch, capsys: pytest.CaptureFixture[str]) -> None:
    """Within the tolerances of a site the real sacct and our accounting agree on every pilot."""
    assert batch.pilots[0]["NodeList"] == NODE
    for job_id in (*batch.jobs, batch.interrupted):
        batch.site.wait_record(job_id)
    code, report = reconcile(batch, capsys)
    assert (code, classes(report)) == (0, {"matched": 4}), report


def test_overhead_and_idle_time_of_pilots_are_shown(batch: Batch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without tolerances: the agent's CPU is overhead of each pilot that had jobs, the time that no job had is idle, a
    pilot without any job is told as such; nothing is impossible, and no payload has more than its pilot."""
    used: dict[str, float] = {}
    for job_id in (*batch.jobs, batch.interrupted):
        record = batch.site.wait_record(job_id)
        key = f"pilot/{record.text('BatchJobID')}"
        used[key] = used.get(key, 0.0) + (record.micros("CPUTime") + record.micros("WrapperCPUTime")) / 1e6
    code, report = reconcile(batch, capsys, CPUTolerance=0.0, WallTolerance=0.0)
    assert (code, classes(report)) == (1, {"overhead": 3, "idle": 4}), report
    told = {(each["class"], each["key"]): each for each in report["tables"]["differences"]}
    keys = [f"pilot/{each['JobIDRaw']}" for each in batch.pilots]
    for key in (keys[0], keys[1], keys[3]):
        overhead, idle = told["overhead", key], told["idle", key]
        assert overhead["left_value"] == pytest.approx(used[key])
        assert used[key] < overhead["right_value"] < idle["right_value"]
        assert idle["left_value"] < idle["right_value"]
        assert "no attempt had" in idle["cause"]
    assert "no attempt is known of this pilot" in told["idle", keys[2]]["cause"]


def test_what_the_documentation_asks_of_sacct_is_enough(batch: Batch) -> None:
    """The columns that the source wants are those that the tests have asked of the real sacct."""
    assert sacct.__doc__ is not None
    (asked,) = re.findall(r"-o (\S+)", sacct.__doc__)
    assert set(asked.split(",")) <= set(COLUMNS.split(","))
    raw = {each["batch"]: each for each in sacct.pilots(batch.cluster.sacct().splitlines(), unread=pytest.fail)}
    assert {each["JobIDRaw"] for each in batch.pilots} <= set(raw)
