"""Text of others made harmless, and figures as people read them: the same on terminals and on pages. Pure."""

import math
import re
from datetime import UTC, datetime

#: Control characters except tab and newline, both ranges, and the marks that turn writing around.
_STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
#: Whole escape sequences, so that no "[31m" is left standing.
_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")

#: Behind the point; what is smaller is nothing to people.
_MOST_DIGITS = 9
_BYTE_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB")


def clean(text: str) -> str:
    """*text* without control characters (newline and tab stay) and without escape sequences."""
    if text.isprintable():  # nothing that steers is, and nearly every value of a page is
        return text
    return _STEERING.sub("", _SEQUENCE.sub("", text))


def one_line(value: object) -> str:
    """*value* as one clean line; None is empty."""
    return "" if value is None else " ".join(clean(str(value)).split())


def seconds_text(seconds: float | None) -> str:
    """A duration as people read it: 0.042 s, 3.14 s, 2 min 05 s, 3 h 07 min."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.3f} s" if seconds < 1 else f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def fine_seconds_text(seconds: float | None) -> str:
    """The same for what may be short: 0.35 ms, 47 ms, 3.14 s."""
    if seconds is None or seconds == 0 or seconds >= 1:
        return "0 s" if seconds == 0 else seconds_text(seconds)
    milliseconds = seconds * 1000
    return f"{milliseconds:.2f} ms" if milliseconds < 10 else f"{milliseconds:.0f} ms"


def ago_text(seconds: float) -> str:
    """How long ago, to the minute: what renews itself every few seconds need not change each time."""
    minutes = int(max(seconds, 0.0)) // 60
    if minutes < 60:
        return f"{minutes} min ago" if minutes else "less than a minute ago"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min ago" if hours < 48 else f"{hours // 24} days ago"


def bytes_text(count: float | None) -> str:
    """A size as people read it: 0 B, 812 B, 1.5 KiB, 42 MiB."""
    if count is None:
        return ""
    if abs(count) < 1024:
        return f"{count:.0f} B"
    size = float(count)
    for unit in _BYTE_UNITS:
        size /= 1024
        if abs(size) < 1023.5 or unit == _BYTE_UNITS[-1]:
            break
    return f"{size:.1f} {unit}" if abs(size) < 9.95 else f"{size:,.0f} {unit}"


def number_text(value: float | None, digits: int = 0) -> str:
    """A number with its thousands set apart: 12,345 and, with *digits* 2, 1,234.50; a small one as far as it says
    something, 0.0074 and not 0.01."""
    if value is None:
        return ""
    if digits and 0 < abs(value) < 0.1:
        digits = min(digits - 1 - math.floor(math.log10(abs(value))), _MOST_DIGITS)
    return f"{value:,.{digits}f}"


def percent_text(share: float | None) -> str:
    """A share of 1 in percent: 93.4 %."""
    return "" if share is None else f"{share * 100:.1f} %"


def moment_text(utc_ns: int | None) -> str:
    """A moment in UTC to the second, for people: 2026-11-21 17:24:01 UTC; 0 and None are empty."""
    if not utc_ns:
        return ""
    return f"{datetime.fromtimestamp(utc_ns // 1_000_000_000, UTC):%Y-%m-%d %H:%M:%S} UTC"
