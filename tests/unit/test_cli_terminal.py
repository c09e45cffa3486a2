"""What goes to the user: clean text, tables that fit, jobs as they change."""

import pytest

from runner.commands.jobs import JobRow, LiveTable
from runner.commands.killing import kill
from runner.commands.peek import fresh
from runner.commands.terminal import Terminal, clean, columns, fit, one_line, seconds_text
from runner.wms.client import WmsClient


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("plain\ttext\n", "plain\ttext\n"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;http://x\x1b\\link", "link"),
        ("a\rb\bc\x00d\x7f", "abcd"),
        ("\x9b31mx", "31mx"),
        ("user\u202egnp.exe", "usergnp.exe"),
        ("\x1b(0", "(0"),
        ("gr\u00fc\u00dfe", "gr\u00fc\u00dfe"),
    ],
)
def test_text_of_others_cannot_steer_a_terminal(given: str, expected: str) -> None:
    """Escape sequences, control characters and direction marks are left out, the rest stays."""
    assert clean(given) == expected


def test_values_become_one_line() -> None:
    """Cells of tables are one clean line; nothing is empty."""
    assert one_line(" a\n b\x1b[1m ") == "a b"
    assert one_line(None) == ""


@pytest.mark.parametrize(("text", "width"), [("short", 8), ("much too long", 8), ("日本語のテキスト", 7), ("é", 1)])
def test_a_cell_has_exactly_its_width(text: str, width: int) -> None:
    """Padding and cutting count cells of the terminal, not characters."""
    assert columns(fit(text, width)) == width


@pytest.mark.parametrize("width", [60, 80, 120])
def test_tables_fit_the_terminal(width: int) -> None:
    """On a terminal the flexible column gives way, so that no row is broken."""
    terminal = Terminal(interactive=True, width=width)
    lines = terminal.table(("ID", "NAME", "END"), [(1, "x" * 200, "Done"), (22, "short", "Failed")], flexible=1)
    assert max(columns(line) for line in lines) <= width
    assert all(word in lines[1] for word in ("1", "…", "Done"))


def test_rows_have_the_colour_of_their_status() -> None:
    """With colours a failed job is red; without there is no escape sequence."""
    rows = [(1, "a", "Failed")]
    assert "\x1b[31m" in Terminal(colour=True).table(("ID", "NAME", "STATUS"), rows)[1]
    assert "\x1b" not in "".join(Terminal().table(("ID", "NAME", "STATUS"), rows))


def test_colours_obey_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR, --no-color, a dumb terminal and a pipe all mean: no colours."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert Terminal.of({"TERM": "xterm"}, as_json=False, no_colour=False).colour
    assert not Terminal.of({"TERM": "xterm", "NO_COLOR": "1"}, as_json=False, no_colour=False).colour
    assert not Terminal.of({"TERM": "dumb"}, as_json=False, no_colour=False).colour
    assert not Terminal.of({"TERM": "xterm"}, as_json=False, no_colour=True).colour
    monkeypatch.setattr("sys.stdout.isatty", lambda: False, raising=False)
    assert not Terminal.of({"TERM": "xterm"}, as_json=False, no_colour=False).colour


def test_durations_are_readable() -> None:
    """From milliseconds to hours."""
    assert [seconds_text(value) for value in (None, 0.0421, 3.14159, 125.4, 11234.0)] == [
        "", "0.042 s", "3.14 s", "2 min 05 s", "3 h 07 min",
    ]  # fmt: skip


def row(status: str, minor: str = "", **more: object) -> JobRow:
    return JobRow({"JobID": 7, "JobName": "n", "Status": status, "MinorStatus": minor, **more})


def test_a_kill_is_ordered_then_confirmed() -> None:
    """Killed alone means that the order was taken; only the wrapper's word makes it confirmed."""
    assert row("Running").kill == ""
    assert row("Killed", "Marked for termination").kill == "kill ordered"
    assert row("Killed", "Received Kill signal").kill == "kill confirmed"


@pytest.mark.parametrize(
    ("job", "is_over"),
    [
        (row("Running"), False),
        (row("Rescheduled"), False),
        (row("Done"), True),
        (row("Failed"), True),
        (row("Killed", "Marked for termination"), True),
        (row("Killed", "Marked for termination", StartExecTime="2026-01-15T12:00:00Z"), False),
        (row("Killed", "Received Kill signal", StartExecTime="x", EndExecTime="y"), True),
    ],
)
def test_a_job_is_over_when_nothing_of_it_runs(job: JobRow, is_over: bool) -> None:
    """A wait ends with the end of the attempt, which for a killed running job is after the order."""
    assert job.is_over is is_over


def test_changes_are_lines_when_not_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Each change of a job is one line, what does not change is not repeated."""
    table = LiveTable(Terminal())
    for job in (row("Waiting"), row("Waiting"), row("Running", "Application"), row("Killed", "Received Kill signal")):
        table.show([job])
    assert capsys.readouterr().out.splitlines() == [
        "job 7  n  attempt 1  Waiting",
        "job 7  n  attempt 1  Running  Application",
        "job 7  n  attempt 1  Killed  Received Kill signal  kill confirmed",
    ]


def test_the_table_is_redrawn_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """On a terminal the second drawing starts with the cursor where the first began."""
    table = LiveTable(Terminal(interactive=True, width=80))
    table.show([row("Waiting")])
    table.show([row("Done")])
    assert "\x1b[2A" in capsys.readouterr().out


def test_nothing_is_shown_beside_json(capsys: pytest.CaptureFixture[str]) -> None:
    """With --json the only output is the value."""
    terminal = Terminal(as_json=True)
    LiveTable(terminal).show([row("Done")])
    terminal.line("words")
    terminal.json({"a": 1})
    assert capsys.readouterr().out == '{\n  "a": 1\n}\n'


@pytest.mark.parametrize(
    ("shown", "lines", "expected"),
    [
        ([], ["a", "b"], ["a", "b"]),
        (["a", "b"], ["a", "b"], []),
        (["a", "b"], ["b", "c"], ["c"]),
        (["a", "a"], ["a", "a", "a"], ["a"]),
        (["a"], ["x", "y"], ["x", "y"]),
        (["a"], [], []),
    ],
)
def test_following_prints_each_line_once(shown: list[str], lines: list[str], expected: list[str]) -> None:
    """What two peeks have in common is printed once."""
    assert list(fresh(shown, lines)) == expected


def test_a_final_job_is_not_killed_again() -> None:
    """An order to end what has ended would only change its minor status: it is refused on this side."""
    client = WmsClient("http://127.0.0.1:9", None)
    outcome = kill(client, row("Killed", "Received Kill signal"))
    assert (outcome.ordered, outcome.reason) == (False, "it is Killed already")
