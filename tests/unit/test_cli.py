"""The command line without a WMS: arguments, exit codes, errors in one line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from runner import cli
from runner.errors import (
    ConfigError,
    DescriptionError,
    FencedError,
    HostileArchiveError,
    JobspanError,
    NotFoundError,
    RefusedError,
    UnauthorizedError,
    UnavailableError,
)


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JOBSPAN_FOLDER", str(tmp_path / "site"))


def test_nothing_shows_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """`jobspan` alone lists its commands, and is a usage error for scripts."""
    assert cli.main([]) == cli.USAGE
    output = capsys.readouterr().out
    assert all(f"\n  {name} " in output for name, _, _ in cli.COMMANDS)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_help_fits_the_terminal(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a command's help says in prose is wrapped to the terminal, and to 88 columns at most."""
    monkeypatch.setenv("COLUMNS", str(width))
    for name, _, _ in cli.COMMANDS:
        with pytest.raises(SystemExit) as ended:
            cli.main([name, "--help"])
        assert ended.value.code == 0
        prose = capsys.readouterr().out.partition("\n\n")[2].partition("\n\n")[0]
        assert max(map(len, prose.splitlines())) <= min(width, 88)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("x"), 2),
        (DescriptionError("x"), 2),
        (UnavailableError("x"), 3),
        (RefusedError("x"), 4),
        (FencedError("x"), 4),
        (UnauthorizedError("x"), 4),
        (NotFoundError("x"), 4),
        (HostileArchiveError("x"), 1),
        (JobspanError("x"), 1),
        (KeyboardInterrupt(), 130),
        (RuntimeError("x"), 70),
    ],
)
def test_each_kind_of_error_has_its_exit_code(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Scripts can tell the kinds of failure apart, and stderr has exactly one line, also for a bug."""

    def fail(argv: list[str]) -> int:
        raise error

    monkeypatch.setattr(cli, "_run", fail)
    assert cli.main(["status"]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("jobspan: ")
    assert captured.err.count("\n") == 1


def test_an_error_cannot_steer_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a server or file put into an error arrives as one clean line."""

    def fail(argv: list[str]) -> int:
        raise RefusedError("no\x1b[2J\nway\x07")

    monkeypatch.setattr(cli, "_run", fail)
    cli.main([])
    assert capsys.readouterr().err == "jobspan: no way\n"


NO_TIMES = (
    *("nan", "-1", "0000-01-01", "0001-01-01", "0001-01-01T00:00:00+14:00", "1969-12-31"),
    *("2200-01-01", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59-14:00", "99999-01-01"),
)


@pytest.mark.parametrize(
    "arguments",
    [
        ["statsu"],
        ["status", "twelve"],
        ["status", "0"],
        ["kill"],
        ["--nonsense"],
        ["status", "--nonsense"],
        ["peek", "1", "2"],
        ["config", "hide"],
        ["--config", "absent.toml", "status"],
        ["submit", "absent.jdl"],
        ["run", "absent.jdl"],
        ["demo", "--jobs", "absent"],
        *(["reconcile", f"{option}={text}"] for option in ("--since", "--until") for text in NO_TIMES),
        *(["report", f"--month={text}"] for text in ("nan", "-1", "0000-01", "1969-12", "2200-01", "99999-01")),
        *(["report", "--month=2026-11", f"--closing-date={text}"] for text in ("nan", "0000-01-01", "99999-01-01")),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong arguments, files and configurations end with 2 and one line that says what to do."""
    assert cli.main(arguments) == cli.USAGE
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "Traceback" not in error


NEED_A_WMS = ("status", "log 1", "parameters 1", "peek 1", "kill 1", "reschedule 1", "output 1")


@pytest.mark.parametrize("command", [*NEED_A_WMS, "metrics", "reconcile"])
def test_without_a_wms_the_exit_code_is_3(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every command that needs a WMS or agent says that none is there, and how to start one."""
    assert cli.main(command.split()) == cli.UNREACHABLE
    assert "start one with `jobspan" in capsys.readouterr().err


def test_a_trace_that_is_not_there_is_exit_code_4(capsys: pytest.CaptureFixture[str]) -> None:
    """Spans are looked for in the folder, with or without a WMS; none is an answer in words."""
    assert cli.main(["trace", "1"]) == cli.REFUSED
    assert "no spans of job 1" in capsys.readouterr().err


def test_a_wrong_description_is_named_by_line_and_field(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The error of a submission points into the file, before any WMS is asked."""
    (tmp_path / "job.yaml").write_text("Executable: a\nArgumnts: b\n")
    assert cli.main(["submit", "job.yaml"]) == cli.USAGE
    expected = "jobspan: job.yaml:2: Argumnts: is no field of a job description; did you mean Arguments?\n"
    assert capsys.readouterr().err == expected


def test_a_missing_input_file_is_an_error_before_submission(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file of the input sandbox that is not there is found on this side."""
    (tmp_path / "job.yaml").write_text("Executable: a\nInputSandbox: [b.py]\n")
    assert cli.main(["submit", "job.yaml"]) == cli.USAGE
    assert "there is no file" in capsys.readouterr().err


def test_common_options_stand_on_either_side(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """--json and --folder mean the same before and after the command."""
    folder = str(tmp_path / "other")
    cli.main(["--json", "--folder", folder, "config", "show"])
    before = json.loads(capsys.readouterr().out)
    cli.main(["config", "show", "--json", "--folder", folder])
    assert json.loads(capsys.readouterr().out) == before
    assert before["folder"] == folder


def test_config_show_can_be_used_as_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What `config show` prints is a configuration that gives the same values."""
    (tmp_path / "a.toml").write_text('[JobAgent]\nSlots = 7\n[Site]\nTag = ["x", "y"]\n')
    assert cli.main(["--config", "a.toml", "config", "show"]) == 0
    (tmp_path / "b.toml").write_text(capsys.readouterr().out)
    cli.main(["--config", "a.toml", "config", "show", "--json"])
    first = json.loads(capsys.readouterr().out)["options"]
    cli.main(["--config", "b.toml", "config", "show", "--json"])
    assert json.loads(capsys.readouterr().out)["options"] == first
    cli.main(["--config", "b.toml", "config", "show", "--changed", "--json"])
    assert {each["name"] for each in json.loads(capsys.readouterr().out)["options"]} == {"Slots", "Tag"}


def test_doctor_tells_what_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    """`doctor` looks at measuring, folder, disk, tokens, WMS and collector; what is merely absent is a note."""
    code = cli.main(["doctor", "--json"])
    findings = json.loads(capsys.readouterr().out)
    assert {"python", "measuring", "killing", "time left", "folder", "disk", "token", "WMS", "collector"} <= {
        each["what"] for each in findings
    }
    assert code == (1 if any(each["state"] == "bad" for each in findings) else 0)


def test_doctor_tells_the_end_of_the_batch_job(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """`doctor` says how long the batch system lets us live, who says so, and when jobs are ended for it."""
    (tmp_path / "c.toml").write_text("[Site]\nCPUTimeLeft = 1000\n[JobWrapper]\nStopMargin = 77\n")
    cli.main(["--config", str(tmp_path / "c.toml"), "doctor", "--json"])
    (found,) = [each for each in json.loads(capsys.readouterr().out) if each["what"] == "time left"]
    assert found["words"] == "1000 s (configured, CPUTimeLeft); jobs end 77 s before (StopMargin)"


def test_doctor_finds_what_is_bad(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A collector and a WMS that do not answer, and a token that others can read, make it fail."""
    (tmp_path / "site" / "tokens").mkdir(parents=True)
    (tmp_path / "site" / "tokens" / "user.token").write_text("secret-token-of-a-user")
    (tmp_path / "site" / "tokens" / "user.token").chmod(0o644)
    (tmp_path / "c.toml").write_text(
        '[WMS]\nURL = "http://127.0.0.1:9"\n[Telemetry]\nOTLPEndpoint = "http://me:pw@127.0.0.1:9"\n'
    )
    assert cli.main(["--config", "c.toml", "doctor"]) == 1
    output = capsys.readouterr().out
    bad = [line for line in output.splitlines() if line.startswith("BAD")]
    assert len(bad) == 3
    assert "pw@" not in output
    assert "secret-token" not in output


def test_help_and_status_load_little() -> None:
    """`--help` loads neither configuration nor HTTP; `status` loads neither server nor telemetry's exporters."""
    code = "import sys; from runner import cli; sys.argv[1:] and cli.main(sys.argv[1:]); print(*sys.modules)"
    for arguments, absent in (
        (
            ["status"],
            {"fastapi", "sqlalchemy", "opentelemetry.sdk", "prometheus_client", "yaml", "zstandard"},
        ),
        ([], {"runner.config", "requests", "urllib3"}),
    ):
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60)
        assert not absent & set(done.stdout.split()), done.stdout


def test_a_reader_that_has_enough_is_no_error(tmp_path: Path) -> None:
    """`jobspan config show | head -1` ends quietly."""
    command = f"{sys.executable} -m runner.cli --folder {tmp_path} config show | head -1"
    root = Path(cli.__file__).parent.parent
    done = subprocess.run(["/bin/sh", "-c", command], cwd=root, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert done.stdout.startswith("# folder")
