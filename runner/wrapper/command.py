"""Executable and Arguments -> what is executed: split by shell quoting rules, variables expanded, no shell. Pure.

What the shell does beyond that (globs, redirection, pipes, `;`, splitting of an expanded value) is
not done: a job that wants it says `Shell = true`.
"""

import re
import shlex
from collections.abc import Callable, Iterator, Mapping

from runner.errors import PermanentJobError

SHELL = "/bin/sh"
_VARIABLE = re.compile(r"\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)\})")
#: What a backslash protects inside double quotes.
_ESCAPED_IN_QUOTES = '$`"\\\n'


def split(text: str, environment: Mapping[str, str]) -> tuple[str, ...]:
    """The words of *text*, with ``$NAME`` and ``${NAME}`` of *environment* outside single quotes replaced.

    A variable that is not set is empty, as in a shell.

    Raises:
        PermanentJobError: a quote is not closed, or the last character is a backslash.
    """
    return tuple(_Splitter(text, environment).words())


def command_line(
    executable: str, arguments: str, environment: Mapping[str, str], *, is_ours: Callable[[str], bool]
) -> tuple[str, ...]:
    """The words to execute. A program for which *is_ours* holds lies in the job's folder and is named from there.

    Raises:
        PermanentJobError: bad quoting, or no program.
    """
    words = split(executable, environment)
    if not words:
        raise PermanentJobError("Executable names no program", error_type="illegal_arguments")
    return (_from_here(words[0], is_ours), *words[1:], *split(arguments, environment))


def shell_line(executable: str, arguments: str, *, is_ours: Callable[[str], bool]) -> tuple[str, ...]:
    """The words that make a shell execute the line; it does all splitting and expanding itself."""
    program = shlex.quote(_from_here(executable, is_ours)) if is_ours(executable) else executable
    return (SHELL, "-c", f"{program} {arguments}".rstrip())


def _from_here(program: str, is_ours: Callable[[str], bool]) -> str:
    return f"./{program.removeprefix('./')}" if is_ours(program) else program


class _Splitter:
    """One pass over a line."""

    def __init__(self, text: str, environment: Mapping[str, str]) -> None:
        self._text = text
        self._environment = environment
        self._at = 0

    def words(self) -> Iterator[str]:
        word: list[str] | None = None
        while self._at < len(self._text):
            character = self._text[self._at]
            if character in " \t\r\n":
                self._at += 1
                if word is not None:
                    yield "".join(word)
                    word = None
                continue
            word = word if word is not None else []
            word.append(self._piece(character))
        if word is not None:
            yield "".join(word)

    def _piece(self, character: str) -> str:
        if character == "'":
            return self._single_quoted()
        if character == '"':
            return self._double_quoted()
        if character == "\\":
            return self._escaped()
        if character == "$":
            return self._variable()
        self._at += 1
        return character

    def _single_quoted(self) -> str:
        end = self._text.find("'", self._at + 1)
        if end < 0:
            raise self._unclosed("'")
        inside = self._text[self._at + 1 : end]
        self._at = end + 1
        return inside

    def _double_quoted(self) -> str:
        pieces: list[str] = []
        self._at += 1
        while self._at < len(self._text):
            character = self._text[self._at]
            following = self._text[self._at + 1 : self._at + 2]
            if character == '"':
                self._at += 1
                return "".join(pieces)
            if character == "$":
                pieces.append(self._variable())
            elif character == "\\" and following and following in _ESCAPED_IN_QUOTES:
                pieces.append("" if following == "\n" else following)
                self._at += 2
            else:
                pieces.append(character)
                self._at += 1
        raise self._unclosed('"')

    def _escaped(self) -> str:
        character = self._text[self._at + 1 : self._at + 2]
        if not character:
            raise PermanentJobError("Arguments end in a backslash", error_type="illegal_arguments")
        self._at += 2
        return "" if character == "\n" else character

    def _variable(self) -> str:
        match = _VARIABLE.match(self._text, self._at)
        if match is None:
            self._at += 1
            return "$"
        self._at = match.end()
        return self._environment.get(match[1] or match[2], "")

    def _unclosed(self, quote: str) -> PermanentJobError:
        return PermanentJobError(
            f"Executable or Arguments have a {quote} that is not closed: {self._text[:80]!r}",
            error_type="illegal_arguments",
        )
