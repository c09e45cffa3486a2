"""A job's traces as text: a bar for each span on one time axis an attempt, what was used, what happened. Pure."""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from telemetry import catalogue as names
from telemetry.clock import NANOSECONDS, utc_text
from telemetry.live.otlp import SpanValue
from telemetry.live.traces import AttemptTrace, JobTrace, depth_first
from telemetry.live.traces_in_words import KILL_EVENTS, by_time, in_words

LEAST_WIDTH = 50
#: So many spans of an attempt are drawn; payloads may have sent thousands.
MOST_ROWS = 200
_DURATION_WIDTH = 9
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_RED, _GREEN, _DIM, _BOLD, _RESET = "\033[31m", "\033[32m", "\033[2m", "\033[1m", "\033[0m"


@dataclass(frozen=True)
class Axis:
    """The time that a drawing shows."""

    start_ns: int
    end_ns: int

    def share(self, at_ns: int) -> float:
        """Where *at_ns* lies: 0 at the start, 1 at the end; what is outside lies at the edge."""
        return min(1.0, max(0.0, (at_ns - self.start_ns) / (self.end_ns - self.start_ns)))

    def holds(self, span: SpanValue) -> bool:
        """Whether all of *span* is shown."""
        return self.start_ns <= span.start_ns and span.end_ns <= self.end_ns


def axis(spans: Sequence[SpanValue], root: SpanValue | None = None) -> Axis:
    """The time of all *spans*, but at most the length of *root* before and after it.

    A job may wait for days before it runs for minutes, a record may be delivered days later, and clocks may be wrong:
    the attempt itself takes a third of the drawing at least.
    """
    start_ns, end_ns = min(span.start_ns for span in spans), max(span.end_ns for span in spans)
    if root is not None:
        length_ns = max(root.end_ns - root.start_ns, NANOSECONDS)
        start_ns, end_ns = max(start_ns, root.start_ns - length_ns), min(end_ns, root.end_ns + length_ns)
    return Axis(start_ns, max(end_ns, start_ns + 1))


def rows(trace: JobTrace, attempt: AttemptTrace) -> list[tuple[int, SpanValue]]:
    """What is drawn for *attempt*, with depths: the first one begins with the submission."""
    return (submission(trace) if attempt is trace.attempts[0] else []) + depth_first(attempt)


def submission(trace: JobTrace) -> list[tuple[int, SpanValue]]:
    """The submission with depths, below the call that made it where that is known."""
    is_called = any(span.name != names.SUBMIT_SPAN for span in trace.submit)
    return [(int(is_called and span.name == names.SUBMIT_SPAN), span) for span in trace.submit]


def waterfall(trace: JobTrace, *, width: int = 100, colour: bool = False) -> str:
    """Lines of at most *width* columns (50 at least); escape sequences for colours only if asked for."""
    painter = _Painter(max(width, LEAST_WIDTH), colour)
    lines: list[str] = []
    if trace.submit:
        submitted = trace.submit[-1]
        lines.append(painter.head(f"submitted {utc_text(submitted.start_ns)}  trace {submitted.trace_id}"))
    for attempt in trace.attempts:
        lines.append(painter.head(_title(attempt)))
        lines.extend(painter.rows(rows(trace, attempt), attempt.root))
        lines.extend(painter.usage(attempt))
        lines.extend(painter.events(attempt.root))
    if not trace.attempts:
        lines.extend(painter.rows(submission(trace)) if trace.submit else ())
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
        return self._line(text, _BOLD)

    def rows(self, spans: Sequence[tuple[int, SpanValue]], root: SpanValue | None = None) -> Iterator[str]:
        drawn = axis([span for _, span in spans], root)
        for depth, span in spans[:MOST_ROWS]:
            label = fit("  " * depth + span.name.removeprefix("jobspan."), self._label_width)
            cells = bar(drawn.share(span.start_ns), drawn.share(span.end_ns), self._bar_width)
            cause = span.attributes.get(names.ERROR_TYPE, "")
            row = f"{label} {self._paint(cells, _RED if span.is_error else _GREEN)} "
            row += f"{duration(span.end_ns - span.start_ns):>{_DURATION_WIDTH}}"
            yield row
            if span.is_error:
                yield self._line("  " * depth + "! " + ": ".join(filter(None, (str(cause), span.message))), _RED)
        if len(spans) > MOST_ROWS:
            yield self._line(f"  and {len(spans) - MOST_ROWS} more spans; --json has all of them", _DIM)

    def usage(self, attempt: AttemptTrace) -> Iterator[str]:
        """What each stage has used, where anybody has measured it."""
        used = [span for span in attempt.spans if names.STAGE_WRAPPER_CPU in span.attributes]
        if not used:
            return
        yield self._line(
            f"  {'used by stage':24}{'payload CPU':>12}{'wrapper CPU':>12}{'read':>10}{'written':>10}", _DIM
        )
        for span in used:
            stage = fit(str(span.attributes.get(names.STAGE_NAME, span.name)), 24)
            seconds = (span.attributes.get(each) for each in (names.STAGE_PAYLOAD_CPU, names.STAGE_WRAPPER_CPU))
            amounts = (span.attributes.get(each) for each in (names.STAGE_READ, names.STAGE_WRITTEN))
            cells = "".join(f"{_seconds(each):>12}" for each in seconds) + "".join(
                f"{size(each):>10}" for each in amounts
            )
            yield self._line(f"  {stage}{cells}")

    def events(self, root: SpanValue) -> Iterator[str]:
        """The events of the root, each with its distance from the start; those of its kill stand out."""
        for event in by_time(root):
            distance_ns = event.at_ns - root.start_ns
            sign = "-" if distance_ns < 0 else "+"
            text = f"  {sign}{duration(abs(distance_ns)):<{_DURATION_WIDTH}} {event.name}: {in_words(event)}"
            yield self._line(text, _RED if event.name in KILL_EVENTS else _DIM)

    def _line(self, text: str, code: str = "") -> str:
        return self._paint(fit(text, self._width).rstrip(), code)

    def _paint(self, text: str, code: str) -> str:
        return f"{code}{text}{_RESET}" if self._colour and code else text


def _seconds(value: object) -> str:
    return f"{value:.2f} s" if isinstance(value, int | float) else ""


def size(value: object) -> str:
    """So many bytes for people, in at most nine columns; nothing for what is no number."""
    if not isinstance(value, int | float):
        return ""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1000:
            return f"{value:.0f} {unit}" if unit == "B" or abs(value) >= 10 else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


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
