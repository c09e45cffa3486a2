"""What the console's pages hold: one answer and then parts of it, rows and counts of one moment, how old output is,
how a job was ended.
"""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TypeAlias

import pytest

from runner.server.models import AttemptName
from runner.server.services.job_commands import JobCommands
from runner.server.services.job_endings import JobEndings
from runner.server.tokens import Identity, Role
from telemetry.clock import NANOSECONDS
from telemetry.identity import attempt_uid
from telemetry.live.otlp_files import OtlpFiles
from telemetry.live.spans import render
from tests.support.attempts import play
from tests.support.browser import Browser
from tests.support.clock import JumpClock
from tests.support.traces import killed
from tests.support.wms import RunningWms, running_wms

CLOCK = JumpClock()
ALICE = Identity("alice", "local_user", "local", frozenset({Role.USER}))
PILOT = Identity("pilot", "local_pilot", "local", frozenset({Role.PILOT}))
Reading: TypeAlias = Callable[[str], str]


@pytest.fixture(scope="module")
def wms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWms]:
    """One WMS for the module."""
    with running_wms(tmp_path_factory.mktemp("wms"), clock=CLOCK) as running:
        yield running


@pytest.fixture
def read(wms: RunningWms) -> Reading:
    """The text of a page, as the owner of the jobs sees it."""
    browser = Browser().open(f"{wms.url}/console/login")
    browser.send(token=wms.user_token)

    def page(path: str) -> str:
        answer = browser.open(wms.url + path).page
        assert answer.status_code == 200, answer.text
        return answer.text

    return page


def running_job(wms: RunningWms, job_type: str) -> tuple[int, str]:
    """A job of that type, which nobody else matches; and the token of its wrapper."""
    job_id = wms.submit(f'Executable = "/bin/true"; JobType = "{job_type}";')
    taken = wms.match(JobTypes=[job_type])
    assert taken is not None
    assert taken["JobID"] == job_id
    report(wms, job_id, taken["JobToken"], "Running")
    return job_id, taken["JobToken"]


def report(wms: RunningWms, job_id: int, token: str, status: str) -> None:
    """A status as of the test's own time."""
    moment = datetime.fromtimestamp(CLOCK.utc_ns() / NANOSECONDS, UTC)
    wms.report(job_id, {"Status": status}, token=token, at=moment)


def beat(wms: RunningWms, job_id: int, token: str, output: str) -> None:
    """A heartbeat with the last lines of the output."""
    body = {str(job_id): {"CPUConsumed": 1.0, "StandardOutput": output}}
    assert wms.call("PATCH", "/api/jobs/heartbeat", body, token=token).status_code == 200


def live(text: str) -> str:
    """What a page renews."""
    found = re.search(r'<div id="live".*</div>', text, re.DOTALL)
    assert found is not None, text
    return found[0]


def counted(text: str) -> dict[str, int]:
    """Jobs by status, as the badges above the table say it."""
    badges = re.findall(r'<span class="badge \w+">(\w+) ([\d,]+)</span></a>', text)
    return {status: int(count.replace(",", "")) for status, count in badges}


def test_a_page_is_one_answer(wms: RunningWms, read: Reading) -> None:
    """A browser that has kept nothing asks once: style and script stand on the page, and nothing else is fetched."""
    wms.submit()
    text = read("/console/jobs")
    assert text.count("<style>") == text.count("<script>") == 1
    assert " src=" not in text
    assert re.findall(r'<link [^>]*href="([^"]*)"', text) == ["data:,"]


def test_an_open_page_is_renewed_by_its_own_part(wms: RunningWms, read: Reading) -> None:
    """What the script asks for has the same live part as the page, and not again what does not change."""
    job_id = wms.submit()
    for path in ("/console/jobs", f"/console/jobs/{job_id}", f"/console/jobs/{job_id}/peek", "/console/pilots"):
        whole, part = read(path), read(f"{path}?live=part")
        assert live(part) == live(whole)
        assert not [each for each in ("<style", "<script", "<header", "Log out") if each in part]
        assert len(part) < len(whole) / 2


def test_counts_and_rows_are_of_one_moment(wms: RunningWms, read: Reading) -> None:
    """The counts are of all that the other filters leave, the rows and their number of the statuses asked for."""
    texts = [f'Executable = "/bin/true"; JobGroup = "counts"; JobName = "c{number}";' for number in range(4)]
    answer = wms.call("POST", "/api/jobs/jdl", texts)
    wms.settle()
    JobEndings(wms.context).kill(ALICE, [answer.json()[0]["JobID"]])
    wms.submit('Executable = "/bin/true"; JobGroup = "others";')
    for status, rows, extent in (
        ("", ["c0", "c1", "c2", "c3"], "1 to 4 of 4"),
        ("Waiting", ["c1", "c2", "c3"], "1 to 3 of 3"),
        ("k*", ["c0"], "1 to 1 of 1"),
        ("Done", [], "None of 0"),
        ("nonsense", [], "None of 0"),
    ):
        text = read(f"/console/jobs?job_group=counts&sort=JobName&order=asc&status={status}")
        assert re.findall(r'<td class="name">(c\d)</td>', text) == rows
        assert f"<caption>{extent}</caption>" in text
        assert counted(text) == {"Waiting": 3, "Killed": 1}


def test_output_says_whence_it_is_and_how_old(wms: RunningWms, read: Reading) -> None:
    """As of which heartbeat, how long ago, and how one sees it as it is written; once all is over, only the first."""
    job_id, token = running_job(wms, "Talks")
    follow = f'on the node of its agent: <code class="whole">jobspan peek --follow {job_id}</code>'
    for path in (f"/console/jobs/{job_id}", f"/console/jobs/{job_id}/peek"):
        assert f"Output comes with the heartbeats; line by line as it is written, {follow}" in read(path)
    beat(wms, job_id, token, "line 1\n")
    assert "UTC, less than a minute ago." in read(f"/console/jobs/{job_id}")
    CLOCK.advance(185)
    for path in (f"/console/jobs/{job_id}", f"/console/jobs/{job_id}/peek"):
        text = read(path)
        assert re.search(r"as of the heartbeat at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC, 3 min ago\.", text)
        assert f"More comes with the heartbeats; line by line as it is written, {follow}" in text
    report(wms, job_id, token, "Done")
    text = read(f"/console/jobs/{job_id}")
    assert "3 min ago." in text
    assert follow not in text


def test_a_kill_is_told_as_far_as_the_wms_has_heard(wms: RunningWms, read: Reading) -> None:
    """The order, and when the wrapper took it; a job that nobody has killed has no such part."""
    job_id, _ = running_job(wms, "Killed")
    assert "How it was ended" not in read(f"/console/jobs/{job_id}")
    CLOCK.advance(5)
    JobEndings(wms.context).kill(ALICE, [job_id])
    CLOCK.advance(2)
    commands = JobCommands(wms.context)
    (order,) = commands.pending(PILOT, [AttemptName(JobID=job_id, Attempt=1)])
    commands.acknowledge(PILOT, [order["CommandID"]])
    told = live(read(f"/console/jobs/{job_id}")).partition('<h2 id="ending">')[2].partition("</ol>")[0]
    moments = re.findall(r'<span class="mono">(.*?)</span> <strong>(.*?)</strong> (\w+)</li>', told)
    assert moments == [
        ("+0 s", "Marked for termination", "JobManager"),
        ("+2.00 s", "Received Kill signal", "JobWrapper"),
    ]


def test_the_trace_tells_how_a_job_was_ended_and_what_it_wrote_last(wms: RunningWms, read: Reading) -> None:
    """Limit, order and signals, from the spans beside the WMS; of the output what the last heartbeat brought, unless it
    was another attempt's; and where the rest is.
    """
    job_id, token = running_job(wms, "Traced")
    beat(wms, job_id, token, "the last words\n")
    identity = {"job_id": job_id, "wms_id": wms.context.wms_id, "uid": attempt_uid(wms.context.wms_id, job_id, 1)}
    attempt = play(during=killed, status="Failed", minor_status="CPU", error_type="cpu_limit", **identity)
    OtlpFiles(wms.context.settings.telemetry).write(render(attempt.entries))
    text = read(f"/console/jobs/{job_id}/trace")
    for wanted in ("How it was ended", "cpu: 4.70 s, and 4 s are allowed", "SIGKILL to 1 process", "the last words"):
        assert wanted in text, wanted
    assert "jobspan trace --html shows them there" in text
    assert "<script>alert" not in text
    answer = wms.call("POST", "/api/jobs/reschedule", {"job_ids": [job_id]})
    assert answer.status_code == 200, answer.text
    wms.settle()
    assert "the last words" not in read(f"/console/jobs/{job_id}/trace")
