r"""DIRAC's job description language (ClassAd syntax), read and written by a small parser of our own.

The parser of DIRACCommon cuts values at ``;``, fails on ``\"``, and never returns from ``"[a]"``,
so none of it is used. Accepted beside the plain form, because users write it: no outer brackets,
a missing last ``;``, bare words, comments (``#``, ``//``, ``/* */``), newlines in quotes.
In quotes ``\"``, ``\\``, ``\n`` and ``\t`` are escapes; any other backslash stands for itself.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from runner.job.located import MAX_DEPTH, DocumentError, Located, Tree

_BLANK = re.compile(r"(?:\s+|#[^\n]*|//[^\n]*|/\*.*?\*/)+", re.DOTALL)
_NAME = re.compile(r"[A-Za-z_][\w.]*")
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
#: A bare value ends at a separator, a line's end, or a comment that stands after a blank.
_BARE = re.compile(r"(?:(?!\s(?:#|//|/\*))[^;,{}\[\]\"\n])+")
_ESCAPE = re.compile(r'\\(["\\nt])')
_ESCAPED = {'"': '"', "\\": "\\", "n": "\n", "t": "\t"}


def read_jdl(text: str) -> Tree:
    """Read a JDL document.

    Raises:
        DocumentError: with the line of what is wrong.
    """
    parser = _Parser(text.removeprefix("\ufeff"))
    bracketed = parser.take("[")
    tree = parser.attributes("]" if bracketed else "", 1)
    parser.skip()
    if parser.position < len(parser.text):
        raise parser.error("nothing may follow the closing ]; write one description a file")
    return tree


def write_jdl(values: Mapping[str, Any]) -> str:
    """*values* (text, numbers, lists, mappings) as a JDL document, fields in their order."""
    return _section(values, "") + "\n"


class _Parser:
    """Recursive descent over the text; `position` is the next character to read."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        self._counted_to = 0
        self._line = 1

    @property
    def line(self) -> int:
        """Line of `position`, counted on from the last time so that the whole is linear."""
        self._line += self.text.count("\n", self._counted_to, self.position)
        self._counted_to = self.position
        return self._line

    def error(self, message: str) -> DocumentError:
        return DocumentError(message, self.line)

    def skip(self) -> None:
        blank = _BLANK.match(self.text, self.position)
        if blank:
            self.position = blank.end()

    def take(self, character: str) -> bool:
        """Whether *character* comes next, blanks and comments aside; it is consumed then."""
        self.skip()
        if not self.text.startswith(character, self.position):
            return False
        self.position += 1
        return True

    def attributes(self, closing: str, depth: int) -> Tree:
        """``Name = value;`` up to *closing*, or to the end of the text when that is empty."""
        result: Tree = {}
        first = self.line
        while True:
            while self.take(";"):
                pass
            if closing and self.take(closing):
                return result
            if self.position >= len(self.text):
                if closing:
                    raise DocumentError(f"the {'[' if depth == 1 else 'section'} that begins here is not closed", first)
                return result
            name, located = self._attribute(closing, depth)
            if name in result:
                raise DocumentError(f"the field is given twice, first on line {result[name].line}", located.line, name)
            result[name] = located

    def _attribute(self, closing: str, depth: int) -> tuple[str, Located]:
        match = _NAME.match(self.text, self.position)
        line = self.line
        if not match:
            raise self.error(f"expected Name = value; found {self._next()!r}")
        self.position = match.end()
        name = match.group()
        if not self.take("="):
            raise self.error(f"expected = after {name}, found {self._next()!r}")
        try:
            value = self._value(depth + 1)
        except DocumentError as error:
            raise DocumentError(str(error), error.line, name) from error
        if not self.take(";") and self._next() not in ("", closing):
            raise DocumentError("the value is not followed by ; (or a quote is not closed)", line, name)
        return name, Located(value.value, line)

    def _next(self) -> str:
        return self.text[self.position : self.position + 1]

    def _value(self, depth: int) -> Located:
        if depth > MAX_DEPTH:
            raise self.error(f"is nested deeper than {MAX_DEPTH} levels")
        self.skip()
        line = self.line
        if self.take("{"):
            return Located(self._items(line, depth), line)
        if self.take("["):
            return Located(self.attributes("]", depth), line)
        if self._next() == '"':
            return Located(self._string(), line)
        bare = _BARE.match(self.text, self.position)
        if not bare or not bare.group().strip():
            raise self.error("a value is missing")
        self.position = bare.end()
        return Located(bare.group().strip(), line)

    def _items(self, line: int, depth: int) -> tuple[Located, ...]:
        items: list[Located] = []
        while not self.take("}"):
            if self.position >= len(self.text):
                raise DocumentError("the { that begins here is not closed", line)
            items.append(self._value(depth + 1))
            if not self.take(","):
                self.skip()
                if self._next() != "}":
                    raise self.error("expected , or } in a list (or a quote is not closed)")
        return tuple(items)

    def _string(self) -> str:
        match = _STRING.match(self.text, self.position)
        if not match:
            raise self.error("the quote that begins here is not closed")
        self.position = match.end()
        return _ESCAPE.sub(lambda escape: _ESCAPED[escape.group(1)], match.group(1))


def _section(values: Mapping[str, Any], indent: str) -> str:
    inner = indent + "    "
    lines = [f"{inner}{name} = {_written(value, inner)};" for name, value in values.items()]
    return "\n".join(["[", *lines, indent + "]"])


def _written(value: Any, indent: str) -> str:
    if isinstance(value, bool):
        return f'"{value}"'
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        return _section(value, indent)
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, Sequence):
        return "{" + ", ".join(_written(each, indent) for each in value) + "}"
    raise TypeError(f"JDL has no {type(value).__name__}")


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'
