"""What holds for every journal, cut, shuffled or repeated."""

import json
import random
import string
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dashboards.promql import UnreadableQuery, read
from telemetry.entries import Entry
from telemetry.live.counters import CountersFile, Totals, merged, read_counters
from telemetry.live.otlp import AccountingEvent, NotOtlp, SpanValue, accounting_of, log_line, span_line, spans_of
from telemetry.live.spans import Unidentified, render
from telemetry.live.tally import AttemptFold, StageSeen, Tally
from telemetry.live.waterfall import bar, fit
from tests.support.attempts import play, uid_of

WHOLE: list[Entry] = sorted(play().entries, key=lambda entry: (entry.boottime_ns, entry.writer, entry.sequence))
IDS = {span.context.span_id: span.name for span in render(WHOLE).spans}


@given(st.integers(1, len(WHOLE)))
def test_every_beginning_of_a_journal_renders_to_ids_of_the_whole(length: int) -> None:
    """Whenever the wrapper dies, its spans have the ids and names that it would have given, start before end."""
    spans = render(WHOLE[:length]).spans
    assert all(IDS[span.context.span_id] == span.name for span in spans)
    assert all(span.start_time <= span.end_time for span in spans)
    assert sum(span.name == "jobspan.job" for span in spans) == 1


@given(st.sets(st.integers(0, len(WHOLE) - 1)), st.randoms())
def test_any_loss_of_lines_still_renders(lost: set[int], order: random.Random) -> None:
    """Whatever lines are damaged, in whatever order files are read: a rendering, or a word that nobody is known."""
    entries = [entry for index, entry in enumerate(WHOLE) if index not in lost]
    order.shuffle(entries)
    try:
        spans = render(entries).spans
    except Unidentified:
        assert not any(type(entry.fact).__name__ == "JobMatched" for entry in entries)
        return
    assert all(span.start_time <= span.end_time for span in spans)
    assert list(spans_of(span_line(spans)))


@given(st.randoms(), st.integers(1, 5))
def test_the_share_does_not_depend_on_order_or_portions(order: random.Random, copies: int) -> None:
    """Facts told twice, or in any order, give the same share."""
    entries = WHOLE * copies
    order.shuffle(entries)
    folded, straight = AttemptFold(), AttemptFold()
    for entry in entries:
        folded.add(entry)
    for entry in WHOLE:
        straight.add(entry)
    assert folded.tally() == straight.tally()


@st.composite
def tallies(draw: st.DrawFn) -> list[Tally]:
    """Shares of a few attempts, some of them repeated."""
    uids = draw(st.lists(st.sampled_from("abcdef"), max_size=12))
    return [
        Tally(
            uid=uid,
            counters={("jobspan_wall_seconds_total", ("execute",)): ord(uid) * 1_000_000_007},
            stages=(StageSeen(stage="execute", result="success", duration_ns=ord(uid) * 10**8, end_utc_ns=ord(uid)),),
        )
        for uid in uids
    ]


@given(tallies())
def test_counters_on_disk_are_the_sum_of_their_uids(shares: list[Tally]) -> None:
    """Whatever is added how often, the file holds each UID once, and reads back to the same sums."""
    expected = Totals()
    for share in {share.uid: share for share in shares}.values():
        expected.add(share)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "counters.jsonl"
        file = CountersFile(path)
        for share in shares:
            file.add(share)
        for totals in (file.totals, read_counters(path).totals, CountersFile(path).totals):
            assert totals.counters == expected.counters
            assert {key: (each.counts, each.sum_ns) for key, each in totals.histograms.items()} == {
                key: (each.counts, each.sum_ns) for key, each in expected.histograms.items()
            }


@given(tallies(), tallies())
def test_what_was_added_and_taken_back_leaves_the_rest(kept: list[Tally], gone: list[Tally]) -> None:
    """Shares that grow, or that count elsewhere in the end, leave exactly the sum of the others."""
    totals, expected = Totals(), Totals()
    for share in (*gone, *kept):
        totals.add(share)
    for share in gone:
        totals.take_back(share)
    for share in kept:
        expected.add(share)
    both = merged(expected, Totals())
    for seen, wanted in ((totals, expected), (merged(Totals(), expected), both)):
        assert {key: value for key, value in seen.counters.items() if value} == wanted.counters
        counts = {key: (each.counts, each.sum_ns) for key, each in seen.histograms.items() if each.sum_ns}
        assert counts == {key: (each.counts, each.sum_ns) for key, each in wanted.histograms.items()}


SCALARS = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=("Cs",)), max_size=20),
)


@given(st.dictionaries(st.sampled_from(["CPUTime", "ExitCode", "Site", "StageWallClockTime.execute"]), SCALARS))
def test_any_record_survives_the_file(fields: dict[str, Any]) -> None:
    """Every value of a record comes back as the value and the type that it was."""
    record = {"UID": uid_of(), "EndTime": "2026-01-15T12:00:09.500000Z", **fields}
    (event,) = accounting_of(log_line(render(WHOLE, record).logs), 1)
    assert event.record == record
    assert all(type(event.record[name]) is type(value) for name, value in record.items())


@given(st.binary(max_size=200))
def test_garbage_is_never_more_than_not_otlp(line: bytes) -> None:
    """A reader of files that others can write never fails in another way."""
    for reader in (lambda: list(spans_of(line)), lambda: list(accounting_of(line, 1))):
        try:
            assert reader() == []
        except NotOtlp:
            continue


NAMES = (
    *("resourceSpans", "resourceLogs", "scopeSpans", "scopeLogs", "spans", "logRecords", "attributes", "key"),
    *("value", "intValue", "status", "events", "traceId", "eventName", "resource"),
)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(NAMES), inner, max_size=4)),
    max_leaves=20,
)


@given(JSON)
def test_json_of_any_shape_is_never_more_than_not_otlp(document: Any) -> None:
    """The same for JSON that looks nearly right."""
    for member in ("resourceSpans", "resourceLogs"):
        line = json.dumps({member: [document]}).encode()
        of_spans = member == "resourceSpans"
        try:
            found = list(spans_of(line) if of_spans else accounting_of(line, 1))
        except NotOtlp:
            continue
        assert all(isinstance(each, SpanValue if of_spans else AccountingEvent) for each in found)


@given(st.text(max_size=40), st.integers(1, 30))
def test_fit_never_lets_a_control_character_through(text: str, width: int) -> None:
    """What a job is called cannot steer a terminal."""
    assert all(character.isprintable() for character in fit(text, width))


@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 200))
def test_every_bar_has_its_width(one: float, other: float, width: int) -> None:
    """Bars never push the durations out of their column."""
    cells = bar(min(one, other), max(one, other), width)
    assert len(cells) == width
    assert cells.strip()


@given(st.text(string.printable, max_size=60))
def test_any_query_is_read_or_refused(expression: str) -> None:
    """The query reader ends for every text, and says UnreadableQuery or nothing."""
    try:
        query = read(expression)
    except UnreadableQuery:
        return
    assert query == read(expression)
