"""A whole site whose wrappers, agents and WMS are killed: what the next one finds, and how soon."""

import os
import signal
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zstandard

from runner.compose.peeks import JobPeek, peek_at
from runner.compose.site import LocalSite, Service
from runner.errors import UnavailableError
from runner.wms.stores import WmsSandboxStore
from telemetry.clock import NANOSECONDS, SystemClock
from telemetry.facts import (
    AttemptEnded,
    DataMoved,
    OperationFinished,
    ParametersSet,
    PayloadPlanned,
    PayloadStarted,
    SignalSent,
    StageFinished,
    WrapperReaped,
    WrapperStarted,
)
from telemetry.journal import read_journal
from tests.support.ports import free_port
from tests.support.processes import is_alive
from tests.support.site import DEADLINE_SECONDS, Site, running_site, site_config
from tests.support.waiting import eventually

#: Writes its streams and a file, plants a link to what is not its own, and stays, deaf to TERM.
PAYLOAD = (
    "echo to stdout; echo to stderr >&2; echo result > result.txt; ln -s /etc/passwd stolen.txt; "
    "trap '' TERM; touch ready; while true; do sleep 0.1; done"
)
OUTPUTS = ["std.out", "std.err", "result.txt", "stolen.txt", "never.txt"]
#: What the promise allows, and what a machine under other load may add.
NOTICED_SECONDS, CLOSED_SECONDS, LOAD_SECONDS = 2.0, 5.0, 15.0


def submit(site: Site) -> int:
    """Submit the payload, and wait until it has written everything."""
    job_id = site.submit(Executable=PAYLOAD, Shell=True, OutputSandbox=OUTPUTS, CPUTime=1000)
    site.wait_fact(job_id, PayloadStarted)
    work = site.wait_folder(job_id) / "work"
    eventually(lambda: (work / "ready").exists(), DEADLINE_SECONDS)
    return job_id


def outputs(site: Site, job_id: int, folder: Path) -> dict[str, str]:
    """What is in the output sandbox of a job at the WMS."""
    store = WmsSandboxStore(site.client, job_id=job_id)
    (pfn,) = eventually(store.outputs, DEADLINE_SECONDS, "the output sandbox")
    archive = folder / "sandbox.tar.zst"
    store.download(pfn, archive)
    with (
        archive.open("rb") as file,
        zstandard.ZstdDecompressor().stream_reader(file) as stream,
        tarfile.open(fileobj=stream, mode="r|") as tar,
    ):
        return {member.name: (tar.extractfile(member) or stream).read().decode() for member in tar}


def kill_wrapper(site: Site, job_id: int) -> int:
    """KILL the wrapper of a job; when, by CLOCK_BOOTTIME."""
    (started,) = site.facts(job_id, WrapperStarted)
    now = SystemClock().boottime_ns()
    os.kill(started.pid, signal.SIGKILL)
    return now


@contextmanager
def next_agent(site: Site, name: str) -> Iterator[Service]:
    """Another agent on the folder of *site*."""
    agent = Service(site.config, ["agent", "--slots", "1"], site.config.folder / "logs" / f"{name}.log")
    try:
        yield agent
    finally:
        agent.stop()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """WMS and agent."""
    with running_site(tmp_path_factory.mktemp("recovery") / "site") as running:
        yield running


def test_a_killed_wrapper_is_closed_with_all_that_there_is(site: Site, tmp_path: Path) -> None:
    """Noticed within 2 s, closed within 5 s; the payload is gone, the outputs are at the WMS as the wrapper would have
    sent them, links not followed; cause, record and parameters are told; the working directory is removed."""
    job_id = submit(site)
    (payload,) = site.facts(job_id, PayloadStarted)
    killed_ns = kill_wrapper(site, job_id)
    ended = site.wait_fact(job_id, AttemptEnded)
    reaped = site.wait_fact(job_id, WrapperReaped)
    record = site.wait_record(job_id)

    noticed, closed = ((each.boottime_ns - killed_ns) / NANOSECONDS for each in (reaped, ended))
    print(f"noticed after {noticed:.2f} s (2), closed after {closed:.2f} s (5)")
    assert noticed < NOTICED_SECONDS + LOAD_SECONDS
    assert closed < CLOSED_SECONDS + LOAD_SECONDS
    assert not is_alive(payload.pid)
    assert site.status(job_id) == ("Failed", "JobWrapper execution")
    (stage,) = [each for each in site.facts(job_id, StageFinished) if each.stage == "execute"]
    assert stage.message.startswith("the wrapper was killed by SIGKILL")
    assert outputs(site, job_id, tmp_path) == {
        "std.out": "to stdout\n",
        "std.err": "to stderr\n",
        "result.txt": "result\n",
    }
    (moved,) = site.facts(job_id, DataMoved)
    assert record.integer("OutputSandBoxSize") == moved.bytes > 0
    assert (record.text("RecordedBy"), record.text("ErrorType")) == ("agent", "wrapper_died")
    assert record.number("CPUUncertainty") < 0.1  # the starter saw the payload to its end
    parameters = {}
    for each in site.facts(job_id, ParametersSet):
        parameters.update(each.parameters)
    assert parameters["OutputSandboxMissingFiles"] == "stolen.txt, never.txt"
    folder = site.config.jobs_folder / f"{job_id}.1"
    eventually((folder / "control" / "settled").exists, DEADLINE_SECONDS)
    assert not (folder / "work").exists()
    assert not list((folder / "control").glob("output_sandbox*"))


#: Leaves its session, its environment and its parent, says its pid, and stays.
ESCAPE = "setsid -f env -i /bin/sh -c 'echo $$ > escaped.new; mv escaped.new escaped; exec sleep 3600'; exec sleep 3600"


@pytest.mark.parametrize("who", ["starter", "starter and wrapper"])
def test_a_payload_that_hides_is_found_among_the_orphans(tmp_path: Path, who: str) -> None:
    """Without a control group a process that has left session and environment comes to the wrapper when its starter is
    killed, and to the agent when the wrapper is killed too: it does not survive."""
    with running_site(tmp_path / "site", JobWrapper={"CPUMethod": "wait4", "CleanUpFlag": False}) as site:
        job_id = site.submit(Executable=ESCAPE, Shell=True, CPUTime=1000)
        (planned,) = (site.wait_fact(job_id, PayloadPlanned).fact,)
        work = site.wait_folder(job_id) / "work"
        eventually((work / "escaped").exists, DEADLINE_SECONDS)
        escaped = int((work / "escaped").read_text())
        assert is_alive(escaped)
        if who != "starter":
            (wrapper,) = site.facts(job_id, WrapperStarted)
            os.kill(wrapper.pid, signal.SIGSTOP)  # both are to die, and neither to see the other's death
            os.kill(planned.starter_pid, signal.SIGKILL)
            kill_wrapper(site, job_id)
        else:
            os.kill(planned.starter_pid, signal.SIGKILL)
        site.wait_fact(job_id, AttemptEnded)
        assert not is_alive(escaped)


def test_a_stopped_starter_is_not_waited_for(site: Site) -> None:
    """The wrapper is killed while its starter stands still (SIGSTOP): the agent has that go on, and closes the
    attempt."""
    job_id = submit(site)
    (payload,), (planned,) = site.facts(job_id, PayloadStarted), site.facts(job_id, PayloadPlanned)
    os.kill(planned.starter_pid, signal.SIGSTOP)
    kill_wrapper(site, job_id)
    site.wait_fact(job_id, AttemptEnded)
    assert not is_alive(payload.pid)
    assert [each.signal for each in site.facts(job_id, SignalSent) if each.purpose == "wake"] == [signal.SIGCONT]


def test_a_node_that_died_is_closed_by_the_next_agent(tmp_path: Path) -> None:
    """Agent, wrapper and starter are killed at once, as by a power cut without the reboot: the payload runs on until
    the next agent is up, which closes all within 5 s."""
    with LocalSite(site_config(tmp_path / "site")) as local:
        site = Site(local.config, local.client, local.agent, local.wms)
        job_id = submit(site)
        (payload,), (planned,) = site.facts(job_id, PayloadStarted), site.facts(job_id, PayloadPlanned)
        local.agent.process.kill()
        local.agent.process.wait(10)
        os.kill(planned.starter_pid, signal.SIGKILL)
        kill_wrapper(site, job_id)
        assert is_alive(payload.pid)
        begun = SystemClock().boottime_ns()
        with next_agent(site, "next"):
            up = SystemClock().boottime_ns()
            ended = site.wait_fact(job_id, AttemptEnded)
            record = site.wait_record(job_id)
        print(
            f"agent up after {(up - begun) / NANOSECONDS:.2f} s, closed {(ended.boottime_ns - up) / NANOSECONDS:.2f} s"
        )
        assert (ended.boottime_ns - up) / NANOSECONDS < CLOSED_SECONDS + LOAD_SECONDS
        assert not is_alive(payload.pid)
        assert not any(Path(path).exists() for path in planned.cgroup_paths)
        assert record.text("RecordedBy") == "agent"
        assert set(outputs(site, job_id, tmp_path)) == {"std.out", "std.err", "result.txt"}


def test_outputs_wait_for_a_wms_that_is_away(tmp_path: Path) -> None:
    """The end does not wait for the WMS, the outputs do: they are uploaded when it is back."""
    config = site_config(tmp_path / "site", WMS={"Port": free_port()})
    with LocalSite(config) as local:
        site = Site(config, local.client, local.agent, local.wms)
        job_id = submit(site)
        local.wms.process.kill()
        local.wms.process.wait(10)
        killed_ns = kill_wrapper(site, job_id)
        ended = site.wait_fact(job_id, AttemptEnded)
        assert (ended.boottime_ns - killed_ns) / NANOSECONDS < CLOSED_SECONDS + LOAD_SECONDS
        assert [
            each.error_type for each in site.facts(job_id, OperationFinished) if each.name.startswith("upload")
        ] == ["unavailable"]
        wms = Service(config, ["wms"], config.folder / "logs" / "wms2.log")
        try:
            site.wait(job_id, "Failed", "JobWrapper execution")
            assert outputs(site, job_id, tmp_path)["result.txt"] == "result\n"
            eventually((config.jobs_folder / f"{job_id}.1" / "control" / "settled").exists, DEADLINE_SECONDS)
            local.agent.stop()
        finally:
            wms.stop()


def peeked(site: Site, job_id: int) -> JobPeek | None:
    """The job's output by the agent; None as long as that one does not answer."""
    try:
        return peek_at(site.config, job_id, "stdout")
    except UnavailableError:
        return None


def test_a_wrapper_outlives_its_agent_and_is_found_again(tmp_path: Path) -> None:
    """A wrapper whose agent was killed goes on; the next agent shows its output and passes a Kill to it, and it ends
    by its own word."""
    with LocalSite(site_config(tmp_path / "site")) as local:
        site = Site(local.config, local.client, local.agent, local.wms)
        job_id = submit(site)
        (payload,), (wrapper,) = site.facts(job_id, PayloadStarted), site.facts(job_id, WrapperStarted)
        local.agent.process.kill()
        local.agent.process.wait(10)
        assert is_alive(wrapper.pid)
        with next_agent(site, "next"):
            assert is_alive(payload.pid)
            look = eventually(lambda: peeked(site, job_id), DEADLINE_SECONDS, "a peek")
            assert look.streams["stdout"].lines == ((0, "to stdout"),)
            site.kill(job_id)
            ended = site.wait_fact(job_id, AttemptEnded)
            record = site.wait_record(job_id)
            eventually(lambda: site.status(job_id) == ("Killed", "Received Kill signal"), DEADLINE_SECONDS)
        assert ended.writer == "wrapper"
        assert (record.text("RecordedBy"), record.text("FinalMajorStatus")) == ("wrapper", "Killed")
        assert not is_alive(payload.pid)
        control = site.config.jobs_folder / f"{job_id}.1" / "control"
        assert not [entry for entry in read_journal(control) if entry.writer == "recovery"]
