"""Reports: one set of values for the terminal, the page and all files."""

import csv
import json
from argparse import Namespace
from collections.abc import Collection
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pytest

from dashboards.report_page import MOST_ROWS, Card, Column, Report, Section, Table, page
from runner.commands.context import Context
from runner.commands.reconciliation_files import present
from runner.commands.reporting import show, write_csv, write_parquet
from runner.commands.terminal import Terminal
from runner.commands.views import month_view, reconciliation_view
from runner.config import Config
from runner.errors import ConfigError
from telemetry.clock import NANOSECONDS
from telemetry.ledger.monthly import CLOSING_DAY, Gap, Month, MonthFold
from telemetry.reconcile.result import ClassTotal, Difference, Finding, Outcome, Side
from tests.support.clock import NOON_UTC_NS
from tests.support.ledger import matched, whole_life

HOSTILE = "=1+1<script>alert(1)</script>\x1b[31m"


def outcome(**changes: Any) -> Outcome:
    """Two sides that differ in one class by a site's fault, and in two single attempts."""
    side = {"kind": "wms", "where": "http://wms", "level": "attempt", "cpu_seconds": 3600.0, "core_seconds": 7200.0}
    pair = {"left": "wms", "right": "batch"}
    difference = {
        **pair, "job_id": 7, "attempt": 1, "site": HOSTILE, "group": "users", "host": "wn1", "pilot": "", "cores": 8,
        "end": "2026-01-15T12:00:00Z", "left_value": 100.0, "right_value": 800.0, "cause": "cores counted twice",
        "core_hours": 1.5, "is_systematic": True,
    }  # fmt: skip
    values: dict[str, Any] = {
        "made_utc_ns": NOON_UTC_NS,
        "sides": (Side(name="wms", records=10, **side), Side(name="batch", records=9, **side)),  # type: ignore[arg-type]
        "totals": (
            ClassTotal(**pair, kind="matched", pairs=7, core_hours=20.0),
            ClassTotal(**pair, kind="wall", pairs=2, core_hours=1.5),
            ClassTotal(**pair, kind="missing", absent="batch", pairs=1, core_hours=0.25),
        ),
        "findings": (
            Finding(
                **pair, kind="wall", where={"site": "LCG.One.org", "cores": "8"}, cause="wall clock times cores",
                pairs=2, among=2, core_hours=1.5, ratio=8.0,
            ),
        ),
        "differences": (
            Difference(**difference, kind="wall", key="u1"),
            Difference(**difference, kind="missing", absent="batch", key="u2"),
        ),
        "core_hours_at_stake": 1.75,
    }  # fmt: skip
    return Outcome(**{**values, **changes})


def reconciled(result: Outcome, folder: Path, **files: Path) -> Report:
    """What `jobspan reconcile` does with its result."""
    given = Namespace(**{**dict.fromkeys(("html", "csv", "parquet", "metrics")), **files})
    return present(result, Context(given, Config(folder=folder), Terminal()))


def test_a_reconciliation_is_shown_with_what_is_at_stake(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The sentence, differences by what they are about, and causes; text of others does not steer the terminal."""
    report = reconciled(outcome(), tmp_path)
    out = capsys.readouterr().out
    assert report.mood == "bad"
    assert "3 differences between wms and batch, 1.750 core hours at stake." in out
    assert "wall clock times cores" in out
    assert "and 1 more" in out
    assert "\x1b[31m" not in out


def test_a_clean_reconciliation_says_so() -> None:
    """Nothing differs: good; nothing differs but something could not be read: not good."""
    totals = (ClassTotal(left="wms", right="batch", kind="matched", pairs=7, core_hours=20.0),)
    clean = outcome(totals=totals, findings=(), differences=(), core_hours_at_stake=0.0)
    assert reconciliation_view(clean).mood == "good"
    assert "agree on all 7 attempts" in reconciliation_view(clean).verdict
    assert "at stake by class" not in page(reconciliation_view(clean))  # a chart of nothing
    unread = outcome(totals=totals, findings=(), differences=(), problems=("a file is damaged",))
    assert reconciliation_view(unread).mood == "warn"
    assert "a file is damaged" in reconciliation_view(unread).verdict


def test_the_files_of_a_reconciliation_have_every_difference(tmp_path: Path) -> None:
    """CSV and Parquet come from the file of all differences where there is one, and no text becomes a formula."""
    everything = tmp_path / "all.parquet"
    duckdb.sql(
        f"COPY (SELECT 'wall' AS kind, '=HYPERLINK(1)' AS site, n AS job_id FROM range(5000) each(n)) TO '{everything}'"
    )
    paths = {name: tmp_path / f"it's.{name}" for name in ("html", "csv", "parquet", "metrics")}
    reconciled(outcome(file=everything), tmp_path, **paths)
    with paths["csv"].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert (len(rows), rows[0]["site"]) == (5000, "'=HYPERLINK(1)")
    read = "SELECT count(*), any_value(site) FROM read_parquet(?)"
    with duckdb.connect() as connection:
        assert connection.execute(read, [str(paths["parquet"])]).fetchall() == [(5000, "=HYPERLINK(1)")]
    assert "1.750" in paths["html"].read_text()
    metrics = paths["metrics"].read_text()
    assert 'jobspan_reconciliation_differences{class="wall"} 2.0' in metrics
    assert 'jobspan_reconciliation_differences{class="missing_in_batch"} 1.0' in metrics
    assert 'jobspan_reconciliation_differences{class="missing_in_wms"} 0.0' in metrics
    assert 'jobspan_reconciliation_core_hours_at_stake{class="wall"} 1.5' in metrics
    assert "jobspan_reconciliation_timestamp_seconds 1.7684784e+09" in metrics


def test_the_files_list_what_is_known_without_such_a_file(tmp_path: Path) -> None:
    """A result that holds all its differences itself is written from itself."""
    paths = {name: tmp_path / f"d.{name}" for name in ("csv", "parquet")}
    reconciled(outcome(), tmp_path, **paths)
    with paths["csv"].open(newline="") as file:
        assert [row["class"] for row in csv.DictReader(file)] == ["wall", "missing_in_batch"]
    rows = duckdb.sql(f"SELECT class, cores, core_hours FROM '{paths['parquet']}'").fetchall()
    assert rows == [("wall", 8, 1.5), ("missing_in_batch", 8, 1.5)]


@pytest.mark.parametrize("has_file", [True, False])
@pytest.mark.parametrize("form", ["html", "csv", "parquet", "metrics"])
@pytest.mark.parametrize("folder", ["nowhere", "file"])
def test_a_place_that_cannot_be_written_is_named(folder: str, form: str, has_file: bool, tmp_path: Path) -> None:
    """A folder that is not there, or is none, is an error in words, whoever writes the file."""
    everything = tmp_path / "all.parquet"
    duckdb.sql(f"COPY (SELECT 'wall' AS kind) TO '{everything}'")
    (tmp_path / "file").touch()
    found = outcome(file=everything if has_file else None)
    with pytest.raises(ConfigError, match=rf"{folder}/d: cannot be written \(.+\)"):
        reconciled(found, tmp_path, **{form: tmp_path / folder / "d"})


def many(count: int) -> Report:
    """A report with that many rows."""
    columns = (Column("name", "Name"), Column("jobs", "Jobs", "count"), Column("status", "Status", "status"))
    rows = [(HOSTILE, number, "Done") for number in range(count)]
    table = Table(name="rows", columns=columns, rows=rows)
    return Report(
        name="r", title="Title", verdict="v", mood="good", cards=(Card(label="a", value=HOSTILE),),
        sections=(Section(title="Rows", table=table),), main="rows",
    )  # fmt: skip


def test_a_page_holds_all_that_it_shows_and_nothing_of_others_steers_it() -> None:
    """No script, no address elsewhere, a policy that allows neither; text of others is text."""
    text = page(many(2))
    assert "<script" not in text
    assert "\x1b" not in text
    assert "default-src &#39;none&#39;" in text
    assert not [each for each in ("src=", "@import", "url(", "style=") if each in text]


def test_a_page_is_bounded_and_says_so() -> None:
    """It shows the first rows and how many there are more; the terminal does likewise."""
    text = page(many(MOST_ROWS + 7))
    assert text.count("<tr>") == MOST_ROWS + 1
    assert "7 more rows" in text


def test_the_terminal_is_bounded_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """Fifty rows, and how many there are more; nothing at all with --json."""
    show(many(60), Terminal())
    assert "and 10 more" in capsys.readouterr().out
    show(many(60), Terminal(as_json=True))
    assert capsys.readouterr().out == ""


def test_tables_become_files_with_their_types(tmp_path: Path) -> None:
    """Numbers stay numbers, nothing stays nothing, and no text of others becomes a formula of a spreadsheet."""
    columns = (Column("who", "Who"), Column("jobs", "Jobs", "count"), Column("hours", "Hours", "hours"))
    table = Table(name="t", columns=columns, rows=[("=1+1", 3, 0.5), ("b", None, None)])
    write_csv(table, tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text() == "who,jobs,hours\n'=1+1,3,0.5\nb,,\n"
    write_parquet(table, tmp_path / "t.parquet")
    assert duckdb.sql(f"SELECT * FROM '{tmp_path / 't.parquet'}'").fetchall() == [("=1+1", 3, 0.5), ("b", None, None)]
    json.dumps(many(2).values())


# --- the month itself -----------------------------------------------------------------------------


def fold(now_ns: int = NOON_UTC_NS * 2, recorded: Collection[str] = ()) -> MonthFold:
    """Of the month in which the tests' attempts end; those that are *recorded* in another one have a record too."""
    month = Month.of("2026-01")
    return MonthFold(month, month.closing_date, now_ns, lambda uid, _: uid in recorded)


def test_only_the_estimate_of_the_wms_is_no_measurement() -> None:
    """An attempt that has nothing but it is told apart; a record that counts and came in time is not."""
    month = fold()
    record = whole_life(matched(1)).record()
    month.add(record, NOON_UTC_NS)
    month.add(whole_life(matched(2)).record().replace(RecordedBy="wms"), NOON_UTC_NS)
    month.add_attempt(record.text("UID"), 1, 1, NOON_UTC_NS)
    report = month.report()
    assert [(gap.kind, gap.job_id) for gap in report.gaps] == [("estimated", 2)]
    assert month_view(report, (), "w").mood == "warn"
    assert month_view(report, ("unreadable",), "w").mood == "bad"


def test_what_ended_a_moment_ago_is_not_missed_yet() -> None:
    """A record may take its time: within the grace nobody misses it, later somebody does."""
    young, old = fold(NOON_UTC_NS + 60 * NANOSECONDS), fold(NOON_UTC_NS + 7200 * NANOSECONDS)
    for each in (young, old):
        each.add_attempt("u", 1, 1, NOON_UTC_NS)
    assert young.report().is_complete
    assert [gap.kind for gap in old.report().gaps] == ["missing"]


def test_what_is_recorded_in_another_month_is_not_missing() -> None:
    """The node's clock says to which month an attempt belongs; that of the WMS may say another one."""
    month = fold(recorded=["u"])
    month.add_attempt("u", 1, 1, NOON_UTC_NS)
    month.add_attempt("v", 1, 2, NOON_UTC_NS)
    assert [gap.uid for gap in month.report().gaps] == ["v"]


def test_the_closing_date_is_in_time_to_its_last_moment() -> None:
    """The day itself counts; the first moment of the next day is late."""
    closed_ns = Month.of("2026-02").start_ns + CLOSING_DAY * 86400 * NANOSECONDS
    record = whole_life(matched(1)).record()
    for arrived_ns, gaps in ((closed_ns - 1, 0), (closed_ns, 1)):
        month = fold()
        month.add(record, arrived_ns)
        assert len(month.report().gaps) == gaps
    assert isinstance(month.report().gaps[0], Gap)


def test_a_month_may_never_be_closed() -> None:
    """With the last day that there is nothing comes too late."""
    month = MonthFold(Month.of("2026-02"), date.max, 0, lambda *_: False)
    month.add(whole_life(matched(1)).record(), Month.of("2199-12").start_ns)
    assert month.report().is_complete


@pytest.mark.parametrize(
    ("text", "bounds", "closing"),
    [
        ("2026-11", ("2026-11-01T00:00:00.000000Z", "2026-12-01T00:00:00.000000Z"), date(2026, 12, 8)),
        ("2026-12", ("2026-12-01T00:00:00.000000Z", "2027-01-01T00:00:00.000000Z"), date(2027, 1, 8)),
    ],
)
def test_a_month_is_one_in_utc(text: str, bounds: tuple[str, str], closing: date) -> None:
    """From its first moment to that of the next month, over the end of a year too."""
    month = Month.of(text)
    assert (month.bounds, month.closing_date, str(month)) == (bounds, closing, text)
