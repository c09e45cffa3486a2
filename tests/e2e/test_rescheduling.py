"""Jobs that are given another attempt, as often as is allowed, through a real site."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from runner.compose.clients import client_with
from runner.compose.kinds import open_client
from runner.compose.reconciliation import of_node
from runner.compose.site import Service
from runner.config import Config
from runner.data.storage import FolderStorageElement
from runner.data.transfers import adler32_of
from runner.errors import FencedError
from runner.wms.answers import CatalogFile, MatchedJob
from runner.wms.tokens import FixedToken
from telemetry.facts import AttemptEnded, PayloadStarted
from telemetry.reconcile.statement import render_text
from tests.support.ports import free_port
from tests.support.processes import is_alive
from tests.support.site import DEADLINE_SECONDS, Site, running_site, site_config
from tests.support.waiting import eventually

MAXIMUM = "Maximum of reschedulings reached"
#: Two attempts, each of which looks for its input data again and again before it gives up.
TRYING_SECONDS = 90.0


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site where a job is rescheduled once. What cannot be read is asked for by the deadline of a call."""
    with running_site(tmp_path_factory.mktemp("site"), WMS={"MaxRescheduling": 1, "Timeout": 3.0}) as running:
        yield running


def attempts(site: Site, job_id: int, count: int) -> list[tuple[str, str]]:
    """How the record of each attempt says that it has ended, once there are *count*."""
    records = [site.wait_record(job_id, number) for number in range(1, count + 1)]
    assert [each["RecordedBy"] for each in records] == ["wrapper"] * count
    return [(each.text("FinalMajorStatus"), each.text("FinalMinorStatus")) for each in records]


def reconciled(site: Site) -> None:
    """Both ledgers hold the same, a record for each attempt."""
    try:
        eventually(lambda: of_node(site.config, site.client).is_clean, DEADLINE_SECONDS)
    except AssertionError:
        raise AssertionError(render_text(of_node(site.config, site.client))) from None


def test_a_job_that_asks_for_it_again_and_again_fails_at_the_maximum(site: Site) -> None:
    """Exit 222 each time: rescheduled once, then Failed; a record for each attempt, with the WMS's final status."""
    job_id = site.submit(Executable="/bin/sh", Arguments="-c 'exit 222'")
    site.wait(job_id, "Failed", MAXIMUM)
    assert attempts(site, job_id, 2) == [("Rescheduled", "Going to reschedule job"), ("Failed", MAXIMUM)]
    assert site.job(job_id)["RescheduleCounter"] == 1
    reconciled(site)


def test_a_job_that_is_given_up_while_it_runs_is_stopped(site: Site) -> None:
    """Beyond the maximum its owner's word fails a running job: the payload is ended, WMS and record say the same."""
    job_id = site.submit(Executable="/bin/sleep", Arguments="600")
    site.wait(job_id, "Running", "Application")
    assert job_id in site.client.reschedule([job_id]).succeeded
    payload = site.wait_fact(job_id, PayloadStarted, 2).fact
    site.wait(job_id, "Running", "Application")
    refused = site.client.reschedule([job_id]).failed[job_id]
    assert refused.reason == "Maximum number of reschedules exceeded (1)"

    eventually(lambda: not is_alive(payload.pid), DEADLINE_SECONDS, "the payload to be stopped")
    record = site.wait_record(job_id, 2)
    assert (record["FinalMajorStatus"], record["FinalMinorStatus"]) == ("Failed", MAXIMUM)
    assert site.status(job_id) == ("Failed", MAXIMUM)
    assert [(each.status, each.minor_status) for each in site.facts(job_id, AttemptEnded, 2)] == [("Failed", MAXIMUM)]
    reconciled(site)


def test_input_data_that_is_away_is_tried_again_and_counted(site: Site, tmp_path: Path) -> None:
    """A storage element that is gone is a reason for another attempt, up to the maximum; no payload has started."""
    source = tmp_path / "source"
    source.write_text("1 2 3\n")
    folder = site.config.folder / "storage" / "SE-USER"
    element = FolderStorageElement("SE-USER", folder)
    pfn = element.put(source, "/local/data/away.txt")
    file = CatalogFile(size_bytes=6, adler32=adler32_of(source), replicas={"SE-USER": pfn})
    site.client.catalog_register("FileCatalog", "/local/data/away.txt", file)
    folder.rename(folder.with_name("elsewhere"))
    job_id = site.submit(Executable="/bin/true", InputData=["LFN:/local/data/away.txt"])
    site.wait(job_id, "Failed", MAXIMUM, TRYING_SECONDS)
    folder.with_name("elsewhere").rename(folder)

    assert attempts(site, job_id, 2) == [("Rescheduled", "Input Data Resolution"), ("Failed", MAXIMUM)]
    assert [site.wait_record(job_id, number)["PayloadStarted"] for number in (1, 2)] == [False, False]
    reconciled(site)


def test_a_job_that_was_rescheduled_by_its_owner_runs_again(site: Site) -> None:
    """A failed job goes back by its owner's word, and that counts: the next time it is refused."""
    job_id = site.submit(Executable="/bin/false")
    site.wait(job_id, "Failed", "Application Finished With Errors")
    site.wait_record(job_id)
    assert job_id in site.client.reschedule([job_id]).succeeded
    assert site.wait_record(job_id, 2)["FinalMajorStatus"] == "Failed"
    site.wait(job_id, "Failed")
    refused = site.client.reschedule([job_id]).failed[job_id]
    assert refused.reason == "Maximum number of reschedules exceeded (1)"
    assert site.status(job_id) == ("Failed", "Application Finished With Errors")
    reconciled(site)


def lost_match(config: Config) -> MatchedJob:
    """A match by somebody who is not heard of again, once the WMS has taken it back."""
    with ExitStack() as stack:
        wms = Service(config, ["wms"], config.folder / "logs" / "wms.log")
        stack.callback(wms.stop)
        user, pilot = open_client(config), open_client(config, "pilot")
        stack.callback(user.close)
        stack.callback(pilot.close)
        (job,) = user.submit(['Executable = "/bin/true";'])
        lost = pilot.match({"PilotStamp": "gone", "Site": config.site.name}, 30.0)
        assert lost is not None
        assert lost.job_id == job.job_id
        eventually(lambda: user.all_accounting(job.job_id).records, 30, "the record of the match that was taken back")
        return lost


def test_a_match_whose_answer_was_lost_is_run_by_the_next_agent(tmp_path: Path) -> None:
    """The job goes back by itself and is not counted; whoever comes late with the first match is fenced off."""
    port = free_port()
    lost = lost_match(site_config(tmp_path, WMS={"Port": port, "MatchedTime": 2.0, "MaxRescheduling": 0}))
    config = site_config(tmp_path, WMS={"Port": port, "MaxRescheduling": 0})  # the next match is not taken back
    with ExitStack() as stack:
        wms = Service(config, ["wms"], tmp_path / "logs" / "wms.log")
        stack.callback(wms.stop)
        user = open_client(config)
        stack.callback(user.close)
        agent = Service(config, ["agent"], tmp_path / "logs" / "agent.log")
        stack.callback(agent.stop)
        site = Site(config, user, agent, wms)
        site.wait(lost.job_id, "Done", "Execution Complete")

        late = client_with(config, FixedToken(lost.job_token), user.url)
        stack.callback(late.close)
        with pytest.raises(FencedError):
            late.heartbeat(lost.job_id, {})
        records = [site.wait_record(lost.job_id, number) for number in (1, 2)]
        assert [(each["RecordedBy"], each["FinalMajorStatus"]) for each in records] == [
            ("wms", "Rescheduled"),
            ("wrapper", "Done"),
        ]
        assert records[0]["WallClockTime"] == 0
        reconciled(site)
