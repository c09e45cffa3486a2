"""What the journal of an attempt tells beyond its spans: use over time, and the output as heartbeats told it. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from telemetry.entries import Entry
from telemetry.facts import HeartbeatMade, UsageSampled
from telemetry.journal import merge
from telemetry.live.timeline import Timeline


@dataclass(frozen=True)
class UseAt:
    """One look at the payload: CPU since its start, memory at that moment."""

    at_ns: int
    cpu_seconds: float
    memory_bytes: int


@dataclass(frozen=True)
class OutputAt:
    """The last lines of the output, as of a moment."""

    at_ns: int
    text: str


@dataclass(frozen=True)
class Course:
    """The course of one attempt, in UTC of its own timeline, as its spans are."""

    use: tuple[UseAt, ...] = ()
    output: tuple[OutputAt, ...] = ()


def course(entries: Iterable[Entry]) -> Course:
    """The course in *entries*, in whatever order they come; of output only what was new."""
    merged = merge(list(entries))
    timeline = Timeline(merged)
    use: list[UseAt] = []
    output: list[OutputAt] = []
    for entry in merged:
        match entry.fact:
            case UsageSampled() as fact:
                cpu_seconds = fact.cpu_user_seconds + fact.cpu_system_seconds
                use.append(UseAt(timeline.of(entry), cpu_seconds, fact.rss_bytes))
            case HeartbeatMade() as fact:
                text = str(fact.values.get("StandardOutput") or "")
                if text.strip() and (not output or output[-1].text != text):
                    output.append(OutputAt(timeline.of(entry), text))
    return Course(tuple(use), tuple(output))
