"""One job after the other through a real site: statuses, parameters, traces, both ledgers."""

import itertools
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.agent.folders import JobFolder, Pilot, job_matched, wrapper_arguments
from runner.compose.kinds import open_client
from runner.wrapper.template import write_wrapper
from telemetry.catalogue import ROOT_SPAN, stage_span
from telemetry.clock import NANOSECONDS, SystemClock
from telemetry.facts import (
    ACCOUNTED_STAGES,
    STAGES,
    AttemptEnded,
    Fenced,
    JobAccepted,
    PayloadEnded,
    PayloadStarted,
    WrapperReaped,
    WrapperStarted,
)
from telemetry.journal import Journal, read_journal
from telemetry.live.otlp_files import OtlpFiles, read_accounting, read_spans
from tests.support.site import DEADLINE_SECONDS, Site, running_site
from tests.support.waiting import at_best, eventually


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One site for all tests of this module."""
    with running_site(tmp_path_factory.mktemp("site")) as running:
        yield running


def test_a_job_goes_through_all_statuses_of_dirac(site: Site) -> None:
    """A job that succeeds is Done / Execution Complete, and its logging info tells every step in order."""
    job_id = site.submit(Executable="/bin/echo", Arguments="hello", OutputSandbox=["std.out"])
    site.wait(job_id, "Done", "Execution Complete")

    minors = [minor for _, minor in site.log(job_id)]
    expected = [
        "Job accepted", "Job Received by Agent", "Submitting To CE", "Job Initialization", "Application",
        "Application Finished Successfully", "Uploading Output Sandbox", "Output Sandbox Uploaded",
        "Execution Complete",
    ]  # fmt: skip
    assert [minor for minor in minors if minor in expected] == expected


def test_a_job_whose_wrapper_is_a_new_interpreter(tmp_path: Path) -> None:
    """Without the warm start a job goes the same way: every status in order, one end, one record in both ledgers."""
    with running_site(tmp_path / "site", JobAgent={"WarmStart": False}) as cold:
        test_a_job_goes_through_all_statuses_of_dirac(cold)
        test_an_attempt_ends_once_and_both_ledgers_hold_its_record(cold)
        started = [cold.wait_fact(int(job["JobID"]), WrapperStarted).fact for job in cold.client.search(None, [])]
    assert [each.started_by for each in started] == ["interpreter", "interpreter"]  # type: ignore[attr-defined]


def test_the_acceptance_is_told_before_the_job_ends(site: Site, tmp_path: Path) -> None:
    """ "Job submitted as <task>" is a fact and a parameter from before the payload's end (promise 2)."""
    go = tmp_path / "go"  # a payload that waits for nobody could end while the agent is held up
    job_id = site.submit(Executable="/bin/sh", Arguments=f"-c 'until [ -e {go} ]; do sleep 0.05; done'")
    accepted = site.wait_fact(job_id, JobAccepted)
    task = accepted.fact.task  # type: ignore[attr-defined]
    eventually(lambda: task in str(site.client.parameters(job_id)), DEADLINE_SECONDS, "the parameter")
    go.touch()
    ended = site.wait_fact(job_id, PayloadEnded)

    assert accepted.boottime_ns < ended.boottime_ns


def test_an_attempt_ends_once_and_both_ledgers_hold_its_record(site: Site) -> None:
    """One AttemptEnded, one record at the WMS, one OTLP event, with the WMS's final status (promises 1 and 7)."""
    job_id = site.submit(Executable="/bin/sh", Arguments="-c 'exit 3'")
    site.wait(job_id, "Failed", "Application Finished With Errors")
    record = site.wait_record(job_id)
    logs = OtlpFiles(site.config.telemetry_folder).logs
    events = eventually(lambda: read_accounting(logs, uids=[record.text("UID")]).events)

    assert len(site.facts(job_id, AttemptEnded)) == 1
    assert len(events) == 1
    assert (record.text("FinalMajorStatus"), record.text("FinalMinorStatus")) == site.status(job_id)
    assert record["ExitCode"] == 3


def test_the_shares_of_the_stages_sum_to_the_wall_clock_exactly(site: Site) -> None:
    """The five accounted stages of the record add up to its wall clock to the microsecond (promise 3)."""
    job_id = site.submit(Executable="/bin/echo", Arguments="x", OutputSandbox=["std.out"])
    site.wait(job_id, "Done")
    record = site.wait_record(job_id)

    shares = sum(record.micros(f"StageWallClockTime.{stage}") for stage in ACCOUNTED_STAGES)
    assert shares == record.micros("WallClockTime")


def test_the_root_span_is_the_life_of_the_wrapper_process(site: Site) -> None:
    """The root span starts and ends with the wrapper as the kernel saw it, and the stages share their boundaries."""
    # What follows the root span is the interpreter's own end, and the agent's look at it.
    at_best(0.1, lambda _number: _seconds_after_the_root_span(site), tries=20)


def _seconds_after_the_root_span(site: Site) -> float:
    """How long the wrapper of one more job was seen after the end of its root span."""
    job_id = site.submit(Executable="/bin/true")
    site.wait(job_id, "Done")
    reaped = site.wait_fact(job_id, WrapperReaped).fact
    record = site.wait_record(job_id)
    traces = OtlpFiles(site.config.telemetry_folder).traces
    spans = {
        each.name: each
        for each in eventually(lambda: read_spans(traces, containing=[record.text("TraceID")]).spans)
        if each.trace_id == record.text("TraceID")
    }
    stages = [spans[stage_span(stage)] for stage in STAGES]

    assert all(before.end_ns == after.start_ns for before, after in itertools.pairwise(stages))
    assert (spans[ROOT_SPAN].start_ns, spans[ROOT_SPAN].end_ns) == (stages[0].start_ns, stages[-1].end_ns)
    anchor = next(each for each in read_journal(site.wait_folder(job_id) / "control"))
    end_utc_ns = anchor.utc_ns + (reaped.end_boottime_ns - anchor.boottime_ns)  # type: ignore[attr-defined]
    assert end_utc_ns >= spans[ROOT_SPAN].end_ns
    return (end_utc_ns - spans[ROOT_SPAN].end_ns) / NANOSECONDS


def test_the_payload_joins_the_trace_and_sees_no_secret_of_ours(site: Site, tmp_path: Path) -> None:
    """The payload has TRACEPARENT of this attempt, JOBSPAN_JOB_ID and ATTEMPT, and no token or endpoint of ours."""
    (tmp_path / "show.sh").write_text("#!/bin/sh\nenv | sort\n")
    job_id = site.submit(
        tmp_path, Executable="show.sh", InputSandbox=["show.sh"], OutputSandbox=["std.out"], StdOutput="std.out"
    )
    site.wait(job_id, "Done")
    record = site.wait_record(job_id)
    seen = dict(line.split("=", 1) for line in _output(site, job_id, tmp_path).splitlines() if "=" in line)

    assert seen["TRACEPARENT"].split("-")[1] == record.text("TraceID")
    assert seen["JOBSPAN_JOB_ID"] == str(job_id)
    assert seen["JOBSPAN_JOB_ATTEMPT"] == "1"
    assert seen["OTEL_EXPORTER_OTLP_ENDPOINT"].startswith("http://127.0.0.1:")
    assert not [name for name in seen if "TOKEN" in name]


def test_a_job_that_asks_for_it_gets_another_attempt(site: Site, tmp_path: Path) -> None:
    """Exit 222 (WMSRESC): attempt 1 is Rescheduled / Going to reschedule job, attempt 2 runs and is Done."""
    (tmp_path / "again.sh").write_text('#!/bin/sh\n[ "$JOBSPAN_JOB_ATTEMPT" = 1 ] && exit 222\nexit 0\n')
    job_id = site.submit(tmp_path, Executable="again.sh", InputSandbox=["again.sh"], OutputSandbox=["std.out"])
    site.wait(job_id, "Done", "Execution Complete")
    first, second = site.wait_record(job_id, 1), site.wait_record(job_id, 2)

    assert (first.text("FinalMajorStatus"), first.text("FinalMinorStatus")) == (
        "Rescheduled",
        "Going to reschedule job",
    )
    assert second.text("FinalMajorStatus") == "Done"
    assert first.text("UID") != second.text("UID")
    assert first.text("TraceID") != second.text("TraceID")


def test_an_executable_that_is_not_there_fails_at_once(site: Site) -> None:
    """A payload that cannot be executed is Failed / Application not found, and nothing was started."""
    job_id = site.submit(Executable="no-such-program-anywhere")
    site.wait(job_id, "Failed", "Application not found")

    assert site.wait_record(job_id)["PayloadStarted"] is False


def _output(site: Site, job_id: int, folder: Path) -> str:
    from runner.cli import main

    target = folder / "fetched"
    assert main(["--folder", str(site.config.folder), "output", str(job_id), "--to", str(target)]) == 0
    return next(target.rglob("std.out")).read_text()


def test_a_job_fills_as_many_slots_as_it_asks_for(tmp_path: Path) -> None:
    """Two processors are two slots: the record multiplies by them, and one more job has to wait for a slot."""
    with running_site(tmp_path / "site", slots=2) as site:
        go = tmp_path / "go"
        wide = site.submit(Executable="/bin/sh", Arguments=f"-c 'until [ -e {go} ]; do :; done'", NumberOfProcessors=2)
        site.wait(wide, "Running")
        narrow = site.submit(Executable="/bin/true")
        site.wait(narrow, "Waiting")
        go.touch()
        site.wait(narrow, "Done")
        first, second = site.wait_record(wide), site.wait_record(narrow)

    assert (first["Processors"], second["Processors"]) == (2, 1)
    assert first.micros("ExecTime") == 2 * first.micros("WallClockTime")
    assert second.text("MatchTime") > first.text("EndTime")


def test_the_wrapper_run_by_hand_gives_the_same(site: Site) -> None:
    """The script that the agent wrote, run by a person in its place, runs the job: Done, accounted, traced."""
    with running_site(site.config.folder.parent / "by-hand") as other:
        other.agent.stop()
        client = open_client(other.config, "pilot")
        job_id = other.submit(Executable="/bin/echo", Arguments="by hand", OutputSandbox=["std.out"])
        offer = {"PilotStamp": "by-hand", "Site": other.config.site.name, "Processors": 1}
        matched = eventually(lambda: client.match(offer, 5.0), DEADLINE_SECONDS, "the job")
        assert matched is not None
        folder = JobFolder.make(other.config.jobs_folder, matched)
        pilot = Pilot("by-hand", "by-hand")
        with Journal(folder.control, "agent", SystemClock()) as journal:
            journal.append(job_matched(other.config, matched, pilot, 0.0))
        arguments = wrapper_arguments(other.config, matched, pilot, client.url)
        script = write_wrapper(folder.control, job_id, arguments)
        done = subprocess.run([str(script)], cwd="/", capture_output=True, text=True, timeout=120, check=False)

        assert done.returncode == 0, done.stderr
        assert other.status(job_id) == ("Done", "Execution Complete")
        record = other.wait_record(job_id)
        logs = OtlpFiles(other.config.telemetry_folder).logs
        assert [event.uid for event in read_accounting(logs).events] == [record.text("UID")]


def test_a_second_execution_of_an_attempt_starts_no_payload(site: Site, tmp_path: Path) -> None:
    """A copy of the wrapper's folder that is run elsewhere is fenced off by its claim; the first one goes on."""
    go = tmp_path / "go"
    job_id = site.submit(Executable="/bin/sh", Arguments=f"-c 'until [ -e {go} ]; do :; done'")
    site.wait_fact(job_id, PayloadStarted)
    original = site.wait_folder(job_id)
    copy = tmp_path / original.name
    shutil.copytree(original / "control", copy / "control", ignore=shutil.ignore_patterns("wrapper.*", "*.sock"))
    (copy / "work").mkdir()
    subprocess.run([str(copy / "control" / f"Wrapper_{job_id}")], capture_output=True, timeout=120, check=False)
    go.touch()
    site.wait(job_id, "Done")
    record = site.wait_record(job_id)
    second = [each.fact for each in read_journal(copy / "control")]

    assert any(isinstance(fact, Fenced) for fact in second)
    assert not any(isinstance(fact, PayloadStarted) for fact in second)
    assert record.text("FinalMajorStatus") == "Done"
    assert site.client.all_accounting().conflicts == []
