"""One row of the benchmark table: ours beside the alternative, measured in one run, interleaved."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Row:
    """What was measured. All but *reached* are shown as they are."""

    #: What is compared, with its size: "sample by cgroup2, tree of 100".
    what: str
    ours: str
    #: The alternative and its figure; empty where the aim is an absolute one.
    against: str = ""
    #: Ours to the alternative, with the spread over the rounds.
    ratio: str = ""
    aim: str = ""
    #: Whether the aim was reached in this run; None where there is none.
    reached: bool | None = None


def spread(values: Sequence[float]) -> str:
    """Median and quartiles of *values*, as in `0.97 (0.95 to 0.99)`."""
    if len(values) < 4:
        return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which *share* (0 to 1) of *values* lie."""
    return sorted(values)[min(len(values) - 1, round(len(values) * share))]


def table(rows: Sequence[Row]) -> str:
    """*rows* as a Markdown table, as the README shows it."""
    lines = ["| what | ours | against | ratio (quartiles) | aim | |", "|---|---|---|---|---|---|"]
    for row in rows:
        verdict = {True: "reached", False: "missed", None: ""}[row.reached]
        lines.append(f"| {row.what} | {row.ours} | {row.against} | {row.ratio} | {row.aim} | {verdict} |")
    return "\n".join(lines)
