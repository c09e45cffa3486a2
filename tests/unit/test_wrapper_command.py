"""From Executable and Arguments to what is executed."""

import re
import shlex
import string
import subprocess

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from runner.errors import PermanentJobError
from runner.wrapper.command import command_line, shell_line, split


def ours(name: str) -> bool:
    return bool(name)


def not_ours(name: str) -> bool:
    return not name


ENVIRONMENT = {"HOME": "/home/alice", "TWO": "one two", "N": "7"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ()),
        ("  a   b\tc\n", ("a", "b", "c")),
        ("'a b' \"c d\" e\\ f", ("a b", "c d", "e f")),
        ("'' \"\"", ("", "")),
        ("a'b'\"c\"d", ("abcd",)),
        ("$HOME/x ${N}th", ("/home/alice/x", "7th")),
        ("$TWO \"$TWO\" '$TWO'", ("one two", "one two", "$TWO")),
        ("[$UNSET] $ $1 a$", ("[]", "$", "$1", "a$")),
        ('"\\$N \\" \\\\ \\x" \\$N', ('$N " \\ \\x', "$N")),
        ("*.txt > out; rm x | y & # z", ("*.txt", ">", "out;", "rm", "x", "|", "y", "&", "#", "z")),
    ],
)
def test_words(text: str, words: tuple[str, ...]) -> None:
    """Quotes, backslashes and variables mean what they mean in a shell; everything else is only text."""
    assert split(text, ENVIRONMENT) == words


@pytest.mark.parametrize("text", ["'open", '"open', 'a "b \\"', "ends\\"])
def test_unclosed_quotes_are_refused(text: str) -> None:
    """A line that a shell would wait to be continued is an error of the job."""
    with pytest.raises(PermanentJobError) as raised:
        split(text, ENVIRONMENT)
    assert raised.value.error_type == "illegal_arguments"


@given(st.lists(st.text(string.printable, max_size=12), max_size=5))
def test_quoted_words_come_back(words: list[str]) -> None:
    """Whatever was quoted for a shell comes out as it was."""
    assert split(shlex.join(words), ENVIRONMENT) == tuple(words)


@given(st.text("ab '\"\\$N{}", max_size=14))
def test_as_the_shell_does(text: str) -> None:
    """Where nothing is split after expansion, the words are those of /bin/sh."""
    # Parameters of the shell ($$, $a ...) and its braces are not ours; variables have a test of their own.
    assume(not re.search(r"\$[^\s\\]|[{}]", text))
    try:
        ours = split(text, {"N": "7"})
    except PermanentJobError:
        return
    script = f"printf '%s\\0' {text}" if ours else "true"
    seen = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, timeout=10)
    assert tuple(seen.stdout.split("\0")[:-1]) == ours


def test_a_program_of_the_sandbox_is_named_from_here() -> None:
    """What lies in the working directory is executed from there, anything else is left to PATH."""
    assert command_line("run.sh", "-x $N", ENVIRONMENT, is_ours=ours) == ("./run.sh", "-x", "7")
    assert command_line("ls -l", "a", ENVIRONMENT, is_ours=not_ours) == ("ls", "-l", "a")
    with pytest.raises(PermanentJobError, match="names no program"):
        command_line(" ", "", {}, is_ours=not_ours)


def test_shell_gets_the_line_as_it_is() -> None:
    """With Shell = true, /bin/sh does all splitting; a program of the sandbox is named from here."""
    line = shell_line("my run.sh", "*.txt > out", is_ours=ours)
    assert line == ("/bin/sh", "-c", "'./my run.sh' *.txt > out")
    assert shell_line("echo", "", is_ours=not_ours) == ("/bin/sh", "-c", "echo")
