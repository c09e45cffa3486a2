"""A job's traces as text: a bar for each span on one time axis an attempt. Pure."""

import unicodedata
from collections.abc import Iterator, Sequence

from telemetry import catalogue as names
from telemetry.clock import utc_text
from telemetry.live.otlp import SpanValue
from telemetry.live.traces import AttemptTrace, JobTrace, depth_first

LEAST_WIDTH = 50
_DURATION_WIDTH = 9
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_RED, _GREEN, _DIM, _BOLD, _RESET = "\033[31m", "\033[32m", "\033[2m", "\033[1m", "\033[0m"


def waterfall(trace: JobTrace, *, width: int = 100, colour: bool = False) -> str:
    """Lines of at most *width* columns (50 at least); escape sequences for colours only if asked for."""
    painter = _Painter(max(width, LEAST_WIDTH), colour)
    lines: list[str] = []
    for span in trace.submit:
        lines.append(painter.head(f"submitted {utc_text(span.start_ns)}  trace {span.trace_id}"))
        lines.extend(painter.rows([(0, span)]))
    for attempt in trace.attempts:
        lines.append(painter.head(_title(attempt)))
        lines.extend(painter.rows(depth_first(attempt)))
        lines.extend(painter.notes(attempt.root))
    if not trace.attempts:
        lines.append(f"no attempt of job {trace.job_id} has ended here yet")
    if trace.damaged:
        lines.append(f"{trace.damaged} damaged lines were skipped")
    return "\n".join(lines) + "\n"


def _title(attempt: AttemptTrace) -> str:
    attributes = attempt.root.attributes
    status = " / ".join(
        str(attributes[name]) for name in (names.JOB_STATUS, names.JOB_MINOR_STATUS) if attributes.get(name)
    )
    return f"attempt {attempt.attempt}  {status or 'no end'}  trace {attempt.root.trace_id}"


class _Painter:
    def __init__(self, width: int, colour: bool) -> None:
        self._width = width
        self._colour = colour
        self._label_width = min(44, width * 2 // 5)
        self._bar_width = width - self._label_width - _DURATION_WIDTH - 2

    def head(self, text: str) -> str:
        return self._paint(fit(text, self._width).rstrip(), _BOLD)

    def rows(self, spans: Sequence[tuple[int, SpanValue]]) -> Iterator[str]:
        start_ns = min(span.start_ns for _, span in spans)
        length_ns = max(max(span.end_ns for _, span in spans) - start_ns, 1)
        for depth, span in spans:
            label = fit("  " * depth + span.name.removeprefix("jobspan."), self._label_width)
            cells = bar((span.start_ns - start_ns) / length_ns, (span.end_ns - start_ns) / length_ns, self._bar_width)
            cause = span.attributes.get(names.ERROR_TYPE, "")
            row = f"{label} {self._paint(cells, _RED if span.is_error else _GREEN)} "
            row += f"{duration(span.end_ns - span.start_ns):>{_DURATION_WIDTH}}"
            yield row
            if span.is_error:
                text = "  " * depth + "! " + ": ".join(part for part in (str(cause), span.message) if part)
                yield self._paint(fit(text, self._width).rstrip(), _RED)

    def notes(self, root: SpanValue) -> Iterator[str]:
        """The events of the root, each with its distance from the start."""
        for event in sorted(root.events, key=lambda each: each.at_ns):
            distance_ns = event.at_ns - root.start_ns
            sign = "-" if distance_ns < 0 else "+"
            said = ", ".join(str(value) for value in event.attributes.values())
            text = f"  {sign}{duration(abs(distance_ns)):<{_DURATION_WIDTH}} {event.name}: {said}"
            yield self._paint(fit(text, self._width).rstrip(), _DIM)

    def _paint(self, text: str, code: str) -> str:
        return f"{code}{text}{_RESET}" if self._colour else text


def bar(start: float, end: float, width: int) -> str:
    """A bar from *start* to *end* (0 to 1) in *width* columns, in eighths of a column; never invisible."""
    first = min(int(start * width), width - 1)
    eighths = max(1, round((end * width - first) * 8))
    eighths = min(eighths, (width - first) * 8)
    cells = _EIGHTHS[8] * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")
    return " " * first + cells + " " * (width - first - len(cells))


def duration(nanoseconds: int) -> str:
    """*nanoseconds* for people: at most nine columns."""
    seconds = nanoseconds / 1e9
    if seconds < 1:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 100:
        return f"{seconds:.2f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"


def fit(text: str, width: int) -> str:
    """*text* in exactly *width* columns: cut with an ellipsis, or filled up; control characters become ?."""
    kept: list[str] = []
    used = 0
    for character in text:
        shown = character if character.isprintable() else "?"
        columns = _columns(shown)
        if used + columns > width:
            return _ellipsis(kept, width)
        kept.append(shown)
        used += columns
    return "".join(kept) + " " * (width - used)


def _ellipsis(kept: list[str], width: int) -> str:
    while kept and sum(map(_columns, kept)) > width - 1:
        kept.pop()
    text = "".join(kept) + "…"
    return text + " " * (width - sum(map(_columns, text)))


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
