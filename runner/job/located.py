"""A description as a tree in which every value knows its line, whatever it was written in. Pure."""

from dataclasses import dataclass
from typing import Any, TypeAlias

#: Deepest nesting of lists and sections; real descriptions need three.
MAX_DEPTH = 8

Tree: TypeAlias = dict[str, "Located"]


class DocumentError(ValueError):
    """The text cannot be read. `line` counts from 1; None and "" where line and field are not known."""

    def __init__(self, message: str, line: int | None = None, field: str = "") -> None:
        super().__init__(message)
        self.line = line
        self.field = field


@dataclass(frozen=True)
class Located:
    """A value and the line on which it begins; lines are no part of its identity."""

    value: "str | tuple[Located, ...] | Tree"
    line: int | None = None

    def plain(self) -> Any:
        """The value without lines: str, tuple, dict."""
        if isinstance(self.value, tuple):
            return tuple(each.plain() for each in self.value)
        if isinstance(self.value, dict):
            return {name: each.plain() for name, each in self.value.items()}
        return self.value
