"""A job's traces as Chrome's trace events, the JSON that ui.perfetto.dev and chrome://tracing open. Pure.

A process for each attempt and for the submission, a thread for each lane: events of one thread must nest, so spans
that only overlap are put into lanes of their own. Times are microseconds since the first span, because a double
cannot hold today's time to the microsecond's parts; `otherData` says when that was.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

from telemetry import catalogue as names
from telemetry.clock import NANOSECONDS, utc_text
from telemetry.live.otlp import SpanValue
from telemetry.live.traces import JobTrace, depth_first, json_values
from telemetry.live.traces_course import Course
from telemetry.live.traces_in_words import by_time, in_words

Event: TypeAlias = dict[str, Any]
_MICROSECOND_NS = 1000
_MOST_LANES = 100_000


def trace_events(trace: JobTrace, courses: Mapping[str, Course] | None = None) -> dict[str, Any]:
    """*trace* as one JSON document; with no span in it, a document without events.

    *courses* are of those attempts whose use over time is known, by UID.
    """
    groups: list[tuple[int, str, Sequence[SpanValue]]] = [(1, f"submission of job {trace.job_id}", trace.submit)]
    groups += [
        (number, f"job {trace.job_id} attempt {attempt.attempt}", [span for _, span in depth_first(attempt)])
        for number, attempt in enumerate(trace.attempts, 2)
    ]
    spans = [span for _, _, group in groups for span in group]
    origin_ns = min((span.start_ns for span in spans), default=0)
    drawn = [_Process(number, name, group, origin_ns) for number, name, group in groups if group]
    events = [event for process in drawn for event in process.events()]
    for number, attempt in enumerate(trace.attempts, 2):
        events.extend(_counters(number, (courses or {}).get(attempt.uid, Course()), origin_ns))
    return {
        "traceEvents": events + list(_flows(drawn)),
        "displayTimeUnit": "ms",
        "otherData": {"job_id": trace.job_id, "origin": utc_text(origin_ns) if spans else ""},
    }


class _Process:
    """The spans of one group, each in its lane."""

    def __init__(self, number: int, name: str, spans: Sequence[SpanValue], origin_ns: int) -> None:
        self._number = number
        self._name = name
        self._origin_ns = origin_ns
        self._lanes = lanes(spans)
        self.spans = spans

    def events(self) -> Iterator[Event]:
        yield self._about("process_name", 0, name=self._name)
        yield self._about("process_sort_index", 0, sort_index=self._number)
        for lane in sorted(set(self._lanes.values())):
            yield self._about("thread_name", self._thread(lane), name="spans" if not lane else f"beside {lane}")
        for span in self.spans:
            yield {
                **self.place(span),
                "ph": "X",
                "name": span.name,
                "cat": str(span.resource.get(names.SERVICE, "")) + (",error" if span.is_error else ""),
                "ts": self._at(span.start_ns),
                "dur": max(0, span.end_ns - span.start_ns) / _MICROSECOND_NS,
                "args": {**json_values(span.attributes), **({"message": span.message} if span.message else {})},
            }
            for event in by_time(span):
                yield {
                    **self.place(span),
                    "ph": "i",
                    "s": "p",
                    "name": event.name,
                    "cat": "event",
                    "ts": self._at(event.at_ns),
                    "args": {"said": in_words(event), **json_values(event.attributes)},
                }

    def place(self, span: SpanValue) -> Event:
        """Where *span* is drawn."""
        return {"pid": self._number, "tid": self._thread(self._lanes[span.span_id])}

    def flow(self, span: SpanValue, phase: str, identifier: int) -> Event:
        """One end of an arrow, at *span*."""
        # It begins within its slice: at the end it would belong to none.
        at = self._at(max(span.start_ns, span.end_ns - _MICROSECOND_NS) if phase == "s" else span.start_ns)
        end = {"bp": "e"} if phase == "f" else {}
        return {**self.place(span), "ph": phase, "id": identifier, "name": "link", "cat": "link", "ts": at, **end}

    def _thread(self, lane: int) -> int:
        """Thread 0 is the idle one to Perfetto, and threads of two processes should not have one number."""
        return self._number * _MOST_LANES + lane

    def _about(self, what: str, thread: int, **values: object) -> Event:
        return {"ph": "M", "pid": self._number, "tid": thread or self._thread(0), "name": what, "args": values}

    def _at(self, at_ns: int) -> float:
        return max(0, at_ns - self._origin_ns) / _MICROSECOND_NS


def _counters(number: int, told: Course, origin_ns: int) -> Iterator[Event]:
    """Processors in use and memory, as tracks of their own above the spans."""
    for sooner, later in pairwise(told.use):
        if later.at_ns > sooner.at_ns:
            cores = max(0.0, later.cpu_seconds - sooner.cpu_seconds) / (later.at_ns - sooner.at_ns) * NANOSECONDS
            yield _counter(number, "processors in use", sooner.at_ns - origin_ns, cores)
    for each in told.use:
        yield _counter(number, "memory (bytes)", each.at_ns - origin_ns, each.memory_bytes)


def _counter(number: int, name: str, at_ns: int, value: float) -> Event:
    at = max(0, at_ns) / _MICROSECOND_NS
    return {"ph": "C", "pid": number, "name": name, "cat": "use", "ts": at, "args": {"value": value}}


def _flows(processes: Iterable[_Process]) -> Iterator[Event]:
    """Arrows along the links: from the submission, and from the attempt before."""
    where = {(span.trace_id, span.span_id): (process, span) for process in processes for span in process.spans}
    identifier = 0
    for process, span in list(where.values()):
        for link in span.links:
            source = where.get((link.trace_id, link.span_id))
            # A call that submits ends after what it has submitted: no arrow goes back in time.
            if source is not None and source[1].end_ns <= span.start_ns:
                identifier += 1
                yield source[0].flow(source[1], "s", identifier)
                yield process.flow(span, "f", identifier)


def lanes(spans: Iterable[SpanValue]) -> dict[str, int]:
    """A lane for each span, by its id, so that in one lane any two are apart or one within the other."""
    found: dict[str, int] = {}
    open_until: list[list[int]] = []
    for span in sorted(spans, key=lambda each: (each.start_ns, -each.end_ns)):
        lane = next((lane for lane, ends in enumerate(open_until) if _has_room(ends, span)), len(open_until))
        if lane == len(open_until):
            open_until.append([])
        open_until[lane].append(span.end_ns)
        found[span.span_id] = lane
    return found


def _has_room(ends: list[int], span: SpanValue) -> bool:
    """Whether *span* is apart from, or within, all that a lane has; *ends* of what is still open when it starts."""
    while ends and ends[-1] <= span.start_ns:
        ends.pop()
    return not ends or span.end_ns <= ends[-1]
