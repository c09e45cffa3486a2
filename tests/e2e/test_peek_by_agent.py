"""Output of a running job through its agent: who sees it, how soon, and how often."""

import http.client
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest

from runner.compose.clients import URL_FILE
from runner.process.output import EXCERPT_BYTES
from runner.server.keys import KeyRing
from runner.server.tokens import Identity, Role, TokenMint
from telemetry.clock import SystemClock
from telemetry.facts import PayloadStarted
from tests.support.browser import Browser
from tests.support.site import DEADLINE_SECONDS, Site, running_site
from tests.support.waiting import at_best, eventually

CANARY = "canary-77c0ffee99"
#: Says "ready", then echoes every line that is written into its fifo.
ECHO = (
    "echo ready; echo oops >&2; mkfifo fifo; exec 3<>fifo; "
    'while read line <&3; do echo "$line"; test "$line" = end && break; done'
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """WMS and agent; heartbeats so rare that nothing seen here comes from them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SITE_DB_PASSWORD", CANARY)
        wrapper = {"CheckingTime": 3600.0, "MinCheckingTime": 3600.0}
        with running_site(tmp_path_factory.mktemp("peek") / "site", JobWrapper=wrapper) as running:
            yield running


class Echo:
    """A job that writes what it is told to write."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.job_id = site.submit(Executable=ECHO, Shell=True, CPUTime=600)
        site.wait_fact(self.job_id, PayloadStarted)
        self.work = site.wait_folder(self.job_id) / "work"
        eventually(lambda: (self.work / "fifo").exists(), DEADLINE_SECONDS)

    def write(self, text: str) -> None:
        """Let it write the line *text*."""
        fd = os.open(self.work / "fifo", os.O_WRONLY)
        try:
            os.write(fd, text.encode() + b"\n")
        finally:
            os.close(fd)

    def end(self) -> None:
        """Let it end."""
        self.write("end")
        self.site.wait(self.job_id, "Done")


@pytest.fixture
def job(site: Site) -> Iterator[Echo]:
    """A job that runs."""
    made = Echo(site)
    yield made
    if made.work.exists() and site.status(made.job_id)[0] == "Running":
        made.end()


def token(site: Site, name: str) -> str:
    """The token that lies in the site's folder."""
    return (site.config.tokens_folder / f"{name}.token").read_text().strip()


def minted(site: Site, user: str, *roles: Role) -> str:
    """A token for anybody of the site's VO."""
    folder, clock = site.config.folder / "wms", SystemClock()
    keys = KeyRing(folder / "keys.json", clock)
    mint = TokenMint(keys, str(site.client.info()["WMSID"]), clock)
    return mint.login(Identity(user, "local_user", "local", frozenset(roles)), 600)


def get(site: Site, job_id: int, query: str = "", shown: str | None = None) -> tuple[int, dict[str, str], Any]:
    """Status, headers and JSON of one look."""
    address = urlsplit((site.config.folder / "metrics.url").read_text().strip())
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=15)
    headers = {} if shown == "" else {"Authorization": f"Bearer {shown or token(site, 'user')}"}
    try:
        connection.request("GET", f"/jobs/{job_id}/peek?{query}", headers=headers)
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), json.loads(response.read())
    finally:
        connection.close()


def texts(stream: dict[str, Any]) -> list[str]:
    """The lines of a stream of an answer."""
    return [text for _, text in stream["lines"]]


def test_the_owner_sees_each_stream(site: Site, job: Echo) -> None:
    """Lines come by stream with exact totals; after the end, and the wrapper's, the last of them is still there."""
    # A wrapper that is held up gives the agent no answer in time.
    body = eventually(lambda: body if (body := get(site, job.job_id)[2]).get("JobID") else None, DEADLINE_SECONDS)
    assert body
    assert (body["JobID"], body["Attempt"]) == (job.job_id, 1)
    assert {name: texts(each) for name, each in body["Streams"].items()} == {"stdout": ["ready"], "stderr": ["oops"]}
    assert body["Streams"]["stdout"]["total_bytes"] == 6
    assert list(get(site, job.job_id, "stream=stderr")[2]["Streams"]) == ["stderr"]
    job.end()
    eventually(lambda: not (job.work.parent / "control" / "control.sock").exists())
    out = get(site, job.job_id, "stream=stdout&after_stdout=6")[2]["Streams"]["stdout"]
    assert (texts(out), out["ended"], out["next"]) == (["end"], True, 10)


def test_who_may_look(site: Site, job: Echo) -> None:
    """Without a token 401, with a forged one 401, another user and a pilot 403; an administrator may."""
    forged = token(site, "user")[:-4] + "AAAA"
    assert get(site, job.job_id, shown="")[0] == 401
    assert get(site, job.job_id, shown=forged)[0] == 401
    assert get(site, job.job_id, shown=minted(site, "mallory", Role.USER))[0] == 403
    assert get(site, job.job_id, shown=token(site, "pilot"))[0] == 403
    assert get(site, job.job_id, shown=token(site, "admin"))[0] == 200
    assert get(site, 4711)[0] == 403


@pytest.mark.parametrize("query", ["stream=all", "after_stdout=-1", "after_stdout=x", "wait=x", "wait=-1", "wait=nan"])
def test_nonsense_is_refused(site: Site, job: Echo, query: str) -> None:
    """A question that makes no sense is answered in words."""
    status, _, body = get(site, job.job_id, query)
    assert status == 400
    assert "stream is stdout, stderr or both" in body["detail"]


def test_too_many_looks(site: Site, job: Echo) -> None:
    """Whoever asks too often is told when to come again; others are not held up by him."""
    assert get(site, job.job_id)[0] == 200

    def refused() -> dict[str, str] | None:
        """The headers of a refusal; on a busy machine one asks for a while before that is too often."""
        answers = [get(site, job.job_id) for _ in range(20)]
        return next((headers for status, headers, _ in answers if status == 429), None)

    headers = eventually(refused, 60)
    assert headers is not None
    assert int(headers["Retry-After"]) >= 1
    assert get(site, job.job_id, shown=token(site, "admin"))[0] == 200


def test_a_waiting_look_ends_with_the_line(site: Site, job: Echo) -> None:
    """A call that waits comes back within a second of the line that it waits for, and with nothing before it."""
    after = 6

    def seconds(_: int) -> float:
        nonlocal after

        def stream() -> dict[str, Any] | None:
            """What the look has; nothing if it has waited in vain, or nobody had time for it."""
            body = get(site, job.job_id, f"stream=stdout&after_stdout={after}&wait=5")[2]
            seen: dict[str, Any] = body.get("Streams", {}).get("stdout", {})
            return seen if seen.get("lines") else None

        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(eventually, stream, DEADLINE_SECONDS, "the line")
            job.write(f"secret {CANARY} here")
            written = time.monotonic()
            seen = waiting.result(DEADLINE_SECONDS)
            elapsed = time.monotonic() - written
        assert seen
        assert texts(seen) == ["secret *** here"]
        after = seen["next"]
        return elapsed

    at_best(1.5, seconds)


def test_the_console_shows_what_the_agent_shows(site: Site, job: Echo) -> None:
    """The page of a job that runs on this machine has its lines of this moment, by stream and masked, and says so; when
    the job is over, what heartbeats have brought.
    """
    url = (site.config.folder / URL_FILE).read_text().strip()
    browser = Browser().open(f"{url}/console/login")
    browser.send(token=token(site, "user"))
    job.write(f"secret {CANARY} here")

    def shown() -> str:
        text = browser.open(f"{url}/console/jobs/{job.job_id}").page.text
        return text if "secret *** here" in text else ""

    # The agent may still be about to say where it is.
    text = eventually(shown, DEADLINE_SECONDS, "the line on the page")
    assert "as the job's agent shows them now" in text
    assert re.search(r'<pre id="peek"[^>]*>ready\nsecret \*\*\* here\n</pre>', text)
    assert re.search(r'<pre id="peek-errors"[^>]*>oops\n</pre>', text)
    job.end()
    assert "shows them now" not in browser.open(f"{url}/console/jobs/{job.job_id}").page.text


def peek_command(site: Site, job_id: int, *options: str) -> list[str]:
    """`jobspan peek` as a user calls it."""
    return [sys.executable, "-m", "runner.cli", "--folder", str(site.config.folder), "peek", str(job_id), *options]


def test_the_command_follows_much_and_says_what_it_leaves_out(site: Site) -> None:
    """`--follow` prints all that the agent can show, also what is written just before the end, and tells how much is
    missing; so does JSON."""
    first, last = (f"seq 1 {most}" for most in (30_000, 5_000))
    script = f"{first}; mkfifo fifo; read line < fifo; {last}; echo THE-END"
    job_id = site.submit(Executable=script, Shell=True, CPUTime=600)
    work = site.wait_folder(job_id) / "work"
    eventually(lambda: (work / "fifo").exists(), DEADLINE_SECONDS)
    whole = subprocess.run(["/bin/sh", "-c", f"{first}; {last}; echo THE-END"], capture_output=True, check=True).stdout

    with subprocess.Popen(peek_command(site, job_id, "--follow"), stdout=-1, stderr=-1) as follow:
        assert follow.stdout is not None
        assert follow.stderr is not None
        told = re.fullmatch(r"\((\d+) bytes of stdout are not shown\)\n", follow.stderr.readline().decode())
        assert told is not None
        lines = [*iter(follow.stdout.readline, b"30000\n"), b"30000\n"]
        (work / "fifo").write_text("go on\n")
        shown, missing = b"".join(lines) + follow.stdout.read(), follow.stderr.read()
        assert follow.wait(20) == 0
    assert (shown, missing) == (whole[int(told[1]) :], b"")
    assert len(shown) > EXCERPT_BYTES - 100
    done = subprocess.run(peek_command(site, job_id, "--json"), capture_output=True, check=True, timeout=60)
    said = json.loads(done.stdout)
    assert said["standard_output"].encode() == whole[said["skipped_bytes"]["stdout"] :]
    assert said["skipped_bytes"]["stderr"] == 0


def test_the_command_says_why_a_stream_is_not_shown(site: Site) -> None:
    """Where both streams are in one file there is none but stdout, and that is said."""
    job_id = site.submit(Executable="echo out; echo err >&2", Shell=True, StdOutput="one", StdError="one", CPUTime=600)
    site.wait(job_id, "Done")
    command = peek_command(site, job_id, "--stream", "stderr")
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert shown.returncode == 0
    assert shown.stdout.startswith("(both streams of this job are in one file: stdout; ")


def test_the_command_follows_one_stream(site: Site, job: Echo) -> None:
    """`jobspan peek --stream stdout --follow` prints each line once, soon, up to the last, and no other stream's."""
    command = peek_command(site, job.job_id)
    shown = subprocess.run([*command, "--stream", "stderr"], capture_output=True, text=True, timeout=20)
    assert (shown.returncode, shown.stdout) == (0, "oops\n"), shown
    with subprocess.Popen([*command, "--stream", "stdout", "--follow"], stdout=subprocess.PIPE, text=True) as follow:
        assert follow.stdout is not None
        assert follow.stdout.readline() == "ready\n"

        def seconds(number: int) -> float:
            assert follow.stdout is not None
            job.write(f"line {number}")
            written = time.monotonic()
            assert follow.stdout.readline() == f"line {number}\n"
            return time.monotonic() - written

        lines = 0
        for _ in range(3):
            lines += at_best(5.0, lambda number, lines=lines: seconds(lines + number))  # type: ignore[misc]
        job.end()
        assert follow.stdout.read() == "end\n"
        assert follow.wait(20) == 0
