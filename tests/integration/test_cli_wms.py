"""The commands against a real WMS: what a user types, sees, and gets as exit code."""

import io
import json
import os
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runner import cli
from runner.data.archives import opener, pack
from runner.wms.client import WmsClient
from runner.wms.stores import WmsSandboxStore
from tests.support.waiting import eventually
from tests.support.wms import RunningWms, running_wms


class Token:
    """A token that never changes."""

    def __init__(self, token: str) -> None:
        self._token = token

    def token(self) -> str:
        return self._token

    def renewed(self, refused: str) -> bool:
        return False


@pytest.fixture(scope="module")
def wms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWms]:
    """One WMS for all tests here; each submits jobs of its own."""
    with running_wms(tmp_path_factory.mktemp("site")) as running:
        yield running


Jobspan = Callable[..., tuple[int, str, str]]


@pytest.fixture
def jobspan(
    wms: RunningWms, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Jobspan:
    """Runs a command on the site's folder; exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str | int) -> tuple[int, str, str]:
        code = cli.main(["--folder", str(wms.folder), *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def value(result: tuple[int, str, str]) -> Any:
    """The one JSON value of a command that succeeded."""
    assert (result[0], result[2]) == (0, ""), result
    return json.loads(result[1])


def submitted(jobspan: Jobspan, tmp_path: Path, text: str = "Executable: /bin/true\nSite: NOWHERE.org\n") -> int:
    (tmp_path / "job.yaml").write_text(text)
    return int(value(jobspan("submit", "job.yaml", "--json"))[0]["job_id"])


def test_submission_packs_the_local_files(jobspan: Jobspan, wms: RunningWms, tmp_path: Path) -> None:
    """Files of the input sandbox arrive in the store, other entries stay, and the description names the sandbox."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "script.py").write_text("print('hello')\n")
    (tmp_path / "data.txt").symlink_to(tmp_path / "sub" / "script.py")
    inputs = "[sub/script.py, data.txt, 'LFN:/local/a']"
    text = f"Executable: python3\nJobName: packed\nSite: NOWHERE.org\nInputSandbox: {inputs}\n"
    job_id = submitted(jobspan, tmp_path, text)
    client = WmsClient(wms.url, Token(wms.user_token))
    description, _ = client.description(job_id)
    pfn, other = description["InputSandbox"]
    assert other == "LFN:/local/a"
    WmsSandboxStore(client).download(pfn, tmp_path / "fetched.tar.zst")
    from runner.data.archives import unpack

    (tmp_path / "unpacked").mkdir()
    unpack(tmp_path / "fetched.tar.zst", tmp_path / "unpacked", staging=tmp_path)
    assert (tmp_path / "unpacked" / "sub" / "script.py").read_text() == "print('hello')\n"
    assert not (tmp_path / "unpacked" / "data.txt").is_symlink()


def test_one_wrong_description_submits_none(jobspan: Jobspan, tmp_path: Path) -> None:
    """All descriptions are read before the first job is handed in."""
    (tmp_path / "good.jdl").write_text('Executable = "/bin/true";')
    (tmp_path / "bad.jdl").write_text('Executable = "/bin/true";\nNonsense = 1;')
    before = len(value(jobspan("status", "--json", "--limit", 1000)))
    code, out, err = jobspan("submit", "good.jdl", "bad.jdl")
    assert (code, out) == (cli.USAGE, "")
    assert "bad.jdl:2: Nonsense" in err
    assert len(value(jobspan("status", "--json", "--limit", 1000))) == before


def test_what_the_wms_refuses_is_a_description_error(jobspan: Jobspan, tmp_path: Path) -> None:
    """A storage element that does not exist is refused at submission, in words, with exit code 2."""
    (tmp_path / "job.yaml").write_text("Executable: a\nOutputData: [x]\nOutputSE: SE-NOWHERE\n")
    code, _, err = jobspan("submit", "job.yaml")
    assert code == cli.USAGE
    assert "SE-NOWHERE" in err
    assert err.count("\n") == 1


def test_standard_input_can_be_submitted(jobspan: Jobspan, monkeypatch: pytest.MonkeyPatch) -> None:
    """A description can come through a pipe."""
    monkeypatch.setattr(
        "sys.stdin", io.StringIO('{"Executable": "/bin/true", "JobName": "piped", "Site": "NOWHERE.org"}')
    )
    job_id = value(jobspan("submit", "-", "--json"))[0]["job_id"]
    assert value(jobspan("status", job_id, "--json"))[0]["JobName"] == "piped"


def test_status_and_log_show_the_job(jobspan: Jobspan, tmp_path: Path) -> None:
    """Tables for people and values for programs say the same."""
    job_id = submitted(jobspan, tmp_path, "Executable: /bin/true\nJobName: shown\nSite: NOWHERE.org\n")
    eventually(lambda: value(jobspan("status", job_id, "--json"))[0]["Status"] == "Waiting", 20, "the optimizers")
    code, table, _ = jobspan("status", job_id)
    assert code == 0
    assert all(word in table for word in (str(job_id), "shown", "Waiting"))
    entries = value(jobspan("log", job_id, "--json"))
    assert (entries[0]["Status"], entries[-1]["Status"]) == ("Received", "Waiting")
    _, log, _ = jobspan("log", job_id)
    assert "JobManager" in log
    assert "Received" in log


@pytest.mark.parametrize("command", ["status", "log", "parameters", "peek", "kill", "output", "reschedule"])
def test_a_job_that_does_not_exist_is_exit_code_4(jobspan: Jobspan, command: str) -> None:
    """Asking for a job that is not there is refused, in one line."""
    code, _, err = jobspan(command, 999999)
    assert code == cli.REFUSED
    assert "there is no job 999999 of yours" in err
    assert err.count("\n") == 1


def test_a_kill_is_ordered_once(jobspan: Jobspan, wms: RunningWms, tmp_path: Path) -> None:
    """A waiting job is killed by the order; a second order is refused with exit code 4."""
    job_id = submitted(jobspan, tmp_path)
    assert jobspan("kill", job_id)[:2] == (0, f"job {job_id}  kill ordered\n")
    assert wms.status(job_id) == ("Killed", "Marked for termination")
    assert "never ran" in jobspan("status", job_id)[1]
    code, out, _ = jobspan("kill", job_id)
    assert (code, out) == (cli.REFUSED, f"job {job_id}  not killed: it is Killed already\n")


def test_a_running_job_is_rescheduled(jobspan: Jobspan, wms: RunningWms, tmp_path: Path) -> None:
    """A reschedule makes the next attempt; a Done job gets none."""
    job_id = submitted(jobspan, tmp_path, "Executable: /bin/true\nSite: RESCHEDULED.org\n")
    wms.settle()
    match = wms.match(Site="RESCHEDULED.org")
    assert match is not None
    wms.report(job_id, {"Status": "Running"}, token=match["JobToken"])
    assert value(jobspan("reschedule", job_id, "--json"))[0]["rescheduled"]
    assert value(jobspan("status", job_id, "--json"))[0]["Attempt"] == 2
    assert jobspan("reschedule", 999999)[0] == cli.REFUSED


def running_job(jobspan: Jobspan, wms: RunningWms, tmp_path: Path, site: str) -> tuple[int, WmsClient]:
    job_id = submitted(jobspan, tmp_path, f"Executable: /bin/true\nSite: {site}\n")
    wms.settle()
    match = wms.match(Site=site)
    assert match is not None
    assert match["JobID"] == job_id
    wms.report(job_id, {"Status": "Running", "MinorStatus": "Application"}, token=match["JobToken"])
    return job_id, WmsClient(wms.url, Token(match["JobToken"]))


def test_peek_shows_clean_text(jobspan: Jobspan, wms: RunningWms, tmp_path: Path) -> None:
    """The last lines arrive without what could steer the terminal; JSON has them as they are."""
    job_id, client = running_job(jobspan, wms, tmp_path, "PEEK.org")
    assert "has shown no output yet" in jobspan("peek", job_id)[1]
    client.heartbeat(job_id, {"CPUConsumed": 1.0, "WallClockTime": 2.0, "StandardOutput": "line 1\n\x1b[2Jline 2\n"})
    assert jobspan("peek", job_id)[:2] == (0, "line 1\nline 2\n")
    assert value(jobspan("peek", job_id, "--json"))["standard_output"].startswith("line 1\n\x1b[2J")


def test_peek_follows_until_the_end(jobspan: Jobspan, wms: RunningWms, tmp_path: Path) -> None:
    """Following prints new lines once and ends with the job."""
    job_id, client = running_job(jobspan, wms, tmp_path, "FOLLOW.org")
    client.heartbeat(job_id, {"CPUConsumed": 1.0, "WallClockTime": 2.0, "StandardOutput": "a\nb\n"})
    ended = threading.Timer(0.6, lambda: wms.report(job_id, {"Status": "Done"}, token=client_token(client)))
    ended.start()
    try:
        assert jobspan("peek", job_id, "--follow")[:2] == (0, "a\nb\n")
    finally:
        ended.join()
    assert jobspan("peek", job_id, "--follow", "--json")[0] == cli.USAGE


def client_token(client: WmsClient) -> str:
    return client.transport._token.token()  # type: ignore[union-attr]


def test_parameters_are_shown(jobspan: Jobspan, wms: RunningWms, tmp_path: Path) -> None:
    """What the wrapper has set is there by name."""
    job_id, client = running_job(jobspan, wms, tmp_path, "PARAMETERS.org")
    client.set_parameters(job_id, {"HostName": "node17", "PayloadPID": 4711})
    found = value(jobspan("parameters", job_id, "--json"))
    assert found["HostName"] == "node17"
    assert "node17" in jobspan("parameters", job_id)[1]


def archive(path: Path, **files: bytes) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name.replace("UP", "../").replace("_", "."))
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def test_output_is_fetched_and_unpacked(jobspan: Jobspan, wms: RunningWms, tmp_path: Path) -> None:
    """The output sandbox comes into a new folder; an existing folder is refused, not filled."""
    job_id, client = running_job(jobspan, wms, tmp_path, "OUTPUT.org")
    assert jobspan("output", job_id)[0] == cli.REFUSED
    WmsSandboxStore(client, job_id=job_id).upload_output(archive(tmp_path / "o.tar.gz", std_out=b"hello\n"))
    result = value(jobspan("output", job_id, "--to", "here", "--json"))
    assert result["files"] == ["std.out"]
    assert (tmp_path / "here" / "std.out").read_text() == "hello\n"
    assert jobspan("output", job_id, "--to", "here")[0] == cli.USAGE


def test_names_of_files_that_are_no_text(jobspan: Jobspan, wms: RunningWms, tmp_path: Path) -> None:
    """A file of the payload's that is no UTF-8, or would steer the terminal, arrives; its name is shown harmlessly."""
    job_id, client = running_job(jobspan, wms, tmp_path, "NAMES.org")
    names = [os.fsdecode(b"caf\xe9.txt"), "\x1b[31mred\nline"]
    (tmp_path / "x").write_text("content")
    pack([(name, opener(tmp_path, "x")) for name in names], tmp_path / "o.tar.zst")
    WmsSandboxStore(client, job_id=job_id).upload_output(tmp_path / "o.tar.zst")
    result = value(jobspan("output", job_id, "--to", "here", "--json"))
    code, out, err = jobspan("output", job_id, "--to", "there")

    assert sorted(result["files"]) == sorted(names)
    assert {each.read_text() for each in (tmp_path / "here").iterdir()} == {"content"}
    assert (code, err, sorted(out.splitlines())) == (0, "", ["there/caf.txt", "there/red line"])


def test_an_input_that_no_node_would_take(jobspan: Jobspan, tmp_path: Path) -> None:
    """What could not be unpacked beside the payload is refused when the job is submitted, in words."""
    with (tmp_path / "huge.dat").open("wb") as file:
        file.truncate(21 << 30)
    (tmp_path / "job.yaml").write_text("Executable: /bin/true\nSite: NOWHERE.org\nInputSandbox: [huge.dat]\n")
    code, out, err = jobspan("submit", "job.yaml")

    assert (code, out) == (cli.FAILED, "")
    assert f"more than {20 << 30} bytes" in err


def test_a_hostile_output_leaves_nothing(jobspan: Jobspan, wms: RunningWms, tmp_path: Path) -> None:
    """An output sandbox that leads outside is refused whole: exit code 1, no file, no folder."""
    job_id, client = running_job(jobspan, wms, tmp_path, "HOSTILE.org")
    hostile = archive(tmp_path / "o.tar.gz", good=b"x", UPescaped=b"y")
    WmsSandboxStore(client, job_id=job_id).upload_output(hostile)
    before = sorted(tmp_path.iterdir())
    code, _, err = jobspan("output", job_id, "--to", "here")
    assert code == cli.FAILED
    assert "upwards" in err
    assert sorted(tmp_path.iterdir()) == before


def test_waiting_ends_with_the_jobs(jobspan: Jobspan, wms: RunningWms, tmp_path: Path) -> None:
    """submit --wait shows each change as a line and fails when a job is not Done."""
    (tmp_path / "job.yaml").write_text("Executable: /bin/true\nJobName: awaited\nSite: NOWHERE.org\n")
    client = WmsClient(wms.url, Token(wms.user_token))

    def kill() -> None:
        def waiting() -> list[int]:
            found = client.search(["JobID", "JobName", "Status"], per_page=1000)
            return [int(row["JobID"]) for row in found if (row["JobName"], row["Status"]) == ("awaited", "Waiting")]

        (job_id,) = eventually(waiting, 60, "the job")
        assert cli.main(["--folder", str(wms.folder), "--json", "kill", str(job_id)]) == 0

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        code, out, _ = jobspan("submit", "job.yaml", "--wait")
    finally:
        killer.join(60)
    assert code == cli.FAILED
    assert "Killed  Marked for termination  never ran" in out


def test_a_wrong_token_is_exit_code_4(jobspan: Jobspan, wms: RunningWms, tmp_path: Path) -> None:
    """Without a valid token everything is refused, and the token is not shown."""
    (tmp_path / "token").write_text("not-a-token-of-this-wms")
    (tmp_path / "c.toml").write_text(f'[WMS]\nTokenFile = "{tmp_path / "token"}"\n')
    code, out, err = jobspan("--config", "c.toml", "status")
    assert (code, out) == (cli.REFUSED, "")
    assert "not-a-token-of-this-wms" not in err


@pytest.mark.parametrize("action", [[], ["migrate"], ["audit"]])
@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("nonsense hush", "not an address"),
        ("oracle://u:hush@h/x", "no support for oracle"),
        ("mariadb://u:hush@127.0.0.1:1/x", "mariadb://127.0.0.1:1/x: cannot be "),
    ],
)
def test_a_database_that_cannot_be_is_said_in_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, action: list[str], address: str, said: str
) -> None:
    """A wrong address, a kind that is not supported, a server that is not there: exit code 2, and no password."""
    code = cli.main(["--folder", str(tmp_path), "wms", "--database", address, *action])
    captured = capsys.readouterr()
    assert (code, captured.out, len(captured.err.splitlines())) == (2, "", 1), captured.err
    assert said in captured.err
    assert "hush" not in captured.err


def test_doctor_reaches_the_wms(jobspan: Jobspan) -> None:
    """With a WMS that answers and clocks that agree there is nothing bad."""
    findings = {each["what"]: each for each in value(jobspan("doctor", "--json"))}
    assert findings["WMS"]["state"] == "ok"
    assert findings["clock"]["state"] == "ok"


def test_reconciliation_without_jobs_is_clean(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing on both sides is no difference; the engine leaves nothing behind."""
    with running_wms(tmp_path / "other") as other:
        assert cli.main(["--folder", str(other.folder), "reconcile", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["differences"] == []
        assert not (other.folder / "reconcile").exists()


def test_a_submission_belongs_to_the_trace_around_it(
    wms: RunningWms, jobspan: Jobspan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The TRACEPARENT of whoever calls `jobspan submit` reaches the WMS, and with the job its agent."""
    trace = f"00-{'c' * 32}-{'d' * 16}-01"
    monkeypatch.setenv("TRACEPARENT", trace)
    (tmp_path / "traced.jdl").write_text('Executable = "/bin/true"; Site = "LCG.Traced.org";')
    ((job,),) = [value(jobspan("submit", "traced.jdl", "--json"))]
    wms.settle()
    match = wms.match(Site="LCG.Traced.org")
    assert match is not None
    assert (match["JobID"], match["SubmitTraceparent"]) == (job["job_id"], trace)
