"""What goes to the user: lines, tables, JSON. Text of others is stripped of what could steer a terminal."""

import json
import shutil
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dashboards.text import clean as clean  # for the commands: what others wrote, before it goes to a terminal
from dashboards.text import one_line as one_line
from dashboards.text import seconds_text as seconds_text

COLOURS = {"green": "32", "red": "31", "yellow": "33", "cyan": "36", "dim": "2", "bold": "1"}
#: A job's status in the colour of its news.
STATUS_COLOURS = {
    "Done": "green", "Failed": "red", "Killed": "red", "Stalled": "yellow", "Rescheduled": "yellow",
    "Completed": "yellow", "Running": "cyan", "Completing": "cyan", "Matched": "cyan",
}  # fmt: skip
NARROWEST, DEFAULT_WIDTH, DEFAULT_HEIGHT = 40, 100, 24


def columns(text: str) -> int:
    """How many cells of a terminal *text* takes."""
    return sum(
        0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text
    )


def fit(text: str, width: int) -> str:
    """*text* in exactly *width* cells, with an ellipsis when something is cut off."""
    if columns(text) > width:
        while columns(text) > max(0, width - 1):
            text = text[:-1]
        text += "…"[:width]
    return text + " " * (width - columns(text))


@dataclass(frozen=True)
class Terminal:
    """Standard output as it is: a terminal with a width and perhaps colours, or a pipe; plain text, or JSON."""

    as_json: bool = False
    colour: bool = False
    interactive: bool = False
    width: int = DEFAULT_WIDTH
    height: int = DEFAULT_HEIGHT

    @classmethod
    def of(cls, environment: Mapping[str, str], *, as_json: bool, no_colour: bool) -> "Terminal":
        """As it is now. *environment* decides by NO_COLOR and TERM."""
        interactive = sys.stdout.isatty()
        colour = interactive and not (no_colour or environment.get("NO_COLOR") or environment.get("TERM") == "dumb")
        width, height = shutil.get_terminal_size((DEFAULT_WIDTH, DEFAULT_HEIGHT))
        return cls(as_json, colour, interactive, max(NARROWEST, width), height)

    def line(self, text: str = "") -> None:
        """One line for people; nothing when JSON is wanted."""
        if not self.as_json:
            print(text, flush=True)

    def json(self, value: Any) -> None:
        """The one value of `--json`; nothing otherwise."""
        if self.as_json:
            text = json.dumps(value, indent=2, ensure_ascii=not _speaks_utf8())
            if any("\ud800" <= character <= "\udfff" for character in text):  # a file's name that is no text
                text = json.dumps(value, indent=2)
            print(text, flush=True)

    def paint(self, text: str, colour: str) -> str:
        """*text* in *colour*, where there are colours."""
        return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m" if self.colour and colour else text

    def status(self, text: str, status: str) -> str:
        """*text* in the colour of *status*."""
        return self.paint(text, STATUS_COLOURS.get(status, ""))

    def table(self, heads: Sequence[str], rows: Sequence[Sequence[object]], *, flexible: int = -1) -> list[str]:
        """Aligned columns within the width; the column *flexible* gives way when they do not fit.

        The colour of a row is that of the status in it.
        """
        cells = [[one_line(value) for value in row] for row in rows]
        widths = [max([len(head), *(columns(row[i]) for row in cells)]) for i, head in enumerate(heads)]
        spare = self.width - (sum(widths) + 2 * (len(widths) - 1))
        if spare < 0 and self.interactive:
            widths[flexible] = max(8, widths[flexible] + spare)
        lines = [self.paint(_row(heads, widths), "bold")]
        for row in cells:
            status = next((value.split()[0] for value in row if value and value.split()[0] in STATUS_COLOURS), "")
            lines.append(self.status(_row(row, widths), status))
        return lines

    def show_table(self, heads: Sequence[str], rows: Sequence[Sequence[object]], *, flexible: int = -1) -> None:
        """Print a table."""
        for line in self.table(heads, rows, flexible=flexible):
            self.line(line)


def _row(values: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(fit(value, width) for value, width in zip(values, widths, strict=True)).rstrip()


def _speaks_utf8() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
