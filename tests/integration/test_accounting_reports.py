"""Reports and exports over the accounting of a real WMS, by the commands that accountants call."""

import csv
import json
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from runner import cli
from runner.compose.users import user_names
from runner.config import load
from telemetry.clock import NANOSECONDS, utc_text
from telemetry.ledger.formats import apel, auditor, dirac, ogf
from telemetry.ledger.formats.usage import SummedUsage, Usage
from telemetry.ledger.monthly import Month
from tests.support.clock import NOON_UTC_NS, JumpClock
from tests.support.ledger import matched, whole_life
from tests.support.tree import ROOT
from tests.support.wms import RunningWms, running_wms

Jobspan = Callable[..., tuple[int, str, str]]
#: NOON is on the 15th of January 2026: its month closes on the 8th of February.
MONTH = "2026-01"
DAY_NS = 86400 * NANOSECONDS


@pytest.fixture(scope="module")
def wms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWms]:
    """Two jobs of one site with their records, one of another whose record comes too late, one without a record."""
    clock = JumpClock()
    with running_wms(tmp_path_factory.mktemp("site"), clock=clock) as running:
        for site, cores in (("LCG.One.org", 8), ("LCG.One.org", 1)):
            send(running, match(running, site), cores, site)
        late, missing = match(running, "LCG.Two.org"), match(running, "LCG.Two.org")
        for status in ("Running", "Failed"):
            moment = datetime.fromtimestamp(clock.utc_ns() / NANOSECONDS, UTC)
            running.report(missing["JobID"], {"Status": status}, at=moment, token=missing["JobToken"])
            clock.advance(1)
        send(running, late, 2, "LCG.Two.org")
        with running.context.databases.write() as transaction:  # as if it had come on the 20th of February
            statement = f"UPDATE accounting_records SET ArrivalTime = {clock.utc_ns() + 36 * DAY_NS}"
            transaction.connection.exec_driver_sql(f"{statement} WHERE JobID = {late['JobID']}")
        yield running


def match(wms: RunningWms, site: str) -> dict[str, Any]:
    """A job that an agent at *site* has taken."""
    wms.submit(f'Executable = "/bin/true"; Site = "{site}";')
    found = wms.match(Site=site)
    assert found is not None
    return found


def send(wms: RunningWms, job: dict[str, Any], cores: int, site: str) -> None:
    """The record of its attempt: an hour on *cores* processors, half of it computing."""
    life = whole_life(matched(job["JobID"], 1, uid=job["UID"], wms_id=job["WMSID"], site=site, owner="alice"))
    start = NOON_UTC_NS + 3600 * NANOSECONDS
    record = life.record().replace(
        StartTime=utc_text(start), EndTime=utc_text(start + 3600 * NANOSECONDS), WallClockTime=3600.0,
        ExecTime=3600.0 * cores, CPUTime=1800.0 * cores, NormCPUTime=18000.0 * cores, Processors=cores,
        BenchmarkName="HEPscore23", BenchmarkValue=10.0,
    )  # fmt: skip
    answer = wms.call("POST", "/api/jobspan/accounting", {"Records": [dict(record)]}, token=wms.pilot_token).json()
    assert answer["Results"][0]["Outcome"] == "inserted", answer


@pytest.fixture
def jobspan(wms: RunningWms, capsys: pytest.CaptureFixture[str]) -> Jobspan:
    """Runs a command; its exit code, and what it wrote to stdout and stderr."""

    def run(*arguments: str | int | Path) -> tuple[int, str, str]:
        code = cli.main(["--folder", str(wms.folder), *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_a_month_is_summed_up_by_what_it_is_told_apart_by(jobspan: Jobspan, tmp_path: Path) -> None:
    """Core hours, efficiency and work are exact; JSON, CSV and Parquet hold the same rows."""
    files = {name: tmp_path / f"month.{name}" for name in ("html", "csv", "parquet")}
    options = [part for name, path in files.items() for part in (f"--{name}", path)]
    code, out, _ = jobspan("report", "--month", MONTH, "--json", *options)
    assert code == 1  # something is missing
    document = json.loads(out)
    rows = document["tables"]["used"]
    kept = [(row["site"], row["cores"], row["core_hours"], row["efficiency"], row["work_hours"]) for row in rows]
    assert kept == [
        ("LCG.One.org", 1, 1.0, 0.5, 10.0),
        ("LCG.One.org", 8, 8.0, 0.5, 80.0),
        ("LCG.Two.org", 2, 2.0, 0.5, 20.0),
    ]
    assert document["figures"]["Core hours"] == 11.0
    with files["csv"].open(newline="") as file:
        assert [float(row["core_hours"]) for row in csv.DictReader(file)] == [1.0, 8.0, 2.0]
    held = duckdb.sql(f"SELECT site, cores, core_hours FROM '{files['parquet']}' ORDER BY core_hours").fetchall()
    assert held == [("LCG.One.org", 1, 1.0), ("LCG.Two.org", 2, 2.0), ("LCG.One.org", 8, 8.0)]
    page = files["html"].read_text()
    assert "11.0" in page
    assert "<svg" in page


def test_what_is_missing_or_late_is_named(jobspan: Jobspan) -> None:
    """An attempt without a record and a record after the closing date; a later date makes the latter in time."""
    _, out, _ = jobspan("report", "--month", MONTH, "--json")
    gaps = json.loads(out)["tables"]["gaps"]
    assert [(gap["kind"], gap["site"], gap["core_hours"]) for gap in gaps] == [
        ("late", "LCG.Two.org", 2.0),
        ("missing", "", None),
    ]
    _, out, _ = jobspan("report", "--month", MONTH, "--closing-date", "2026-03-31", "--json")
    assert [gap["kind"] for gap in json.loads(out)["tables"]["gaps"]] == ["missing"]


def test_a_month_is_shown_on_the_terminal(jobspan: Jobspan) -> None:
    """Figures, rows and gaps in words; a month without jobs is complete and says so."""
    code, out, _ = jobspan("report", "--month", MONTH)
    assert code == 1
    assert "3 attempts, 11.000 core hours; of those that ended in 2026-01: 1 missing, 1 late." in out
    assert "LCG.One.org" in out
    code, out, _ = jobspan("report", "--month", "2025-12")
    assert (code, "0 attempts, 0.000 core hours; complete." in out) == (0, True)


def test_an_attempt_at_the_border_of_two_months_is_missing_in_neither(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The WMS learns of an end after the node, of a stalled job's much later: the attempt belongs to the month of its
    record, and in the month of the WMS's clock it is not missed. One that has no record at all is."""
    with running_wms(tmp_path / "site", clock=JumpClock()) as site:
        recorded, lost = match(site, "LCG.One.org"), match(site, "LCG.One.org")
        send(site, recorded, 1, "LCG.One.org")
        later = Month.of("2026-02").start_ns + DAY_NS

        def end(*jobs: dict[str, Any]) -> None:
            numbers = ", ".join(str(each["JobID"]) for each in jobs)
            with site.context.databases.write() as transaction:
                statement = f"UPDATE job_attempts SET EndTime = {later} WHERE JobID IN ({numbers})"
                transaction.connection.exec_driver_sql(statement)

        def verdict(month: str) -> tuple[int, str]:
            code = cli.main(["--folder", str(site.folder), "report", "--month", month])
            return code, capsys.readouterr().out.splitlines()[1]

        end(recorded)
        assert verdict(MONTH) == (0, "1 attempts, 1.000 core hours; complete.")
        assert verdict("2026-02") == (0, "0 attempts, 0.000 core hours; complete.")
        end(lost)
        assert verdict("2026-02") == (1, "0 attempts, 0.000 core hours; of those that ended in 2026-02: 1 missing.")


#: `jobspan` where the extra [reports] is not installed.
BARE = (
    "import sys; sys.modules.update(jinja2=None, duckdb=None, rich=None); from runner.cli import main; sys.exit(main())"
)


def test_a_month_needs_no_extra_but_for_pages_and_parquet(wms: RunningWms, tmp_path: Path) -> None:
    """The base installation sums up on the terminal and in CSV; what it lacks it names, and writes nothing."""
    asked = [sys.executable, "-c", BARE, "--folder", str(wms.folder), "report", "--month", MONTH]
    for option, code in (("--csv", 1), ("--html", 2), ("--parquet", 2)):
        path = tmp_path / option
        result = subprocess.run([*asked, option, path], cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert result.returncode == code, result.stderr
        assert ("jobspan[reports]" in result.stderr, path.is_file()) == (code == 2, code == 1)


def test_reconciliation_names_the_extra_that_it_needs(wms: RunningWms) -> None:
    """Where the engine is not installed, one line says what to install; there is no other way to compare."""
    asked = [sys.executable, "-c", BARE, "--folder", str(wms.folder), "reconcile"]
    result = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout) == (2, "")
    assert "jobspan reconcile needs duckdb; install it with: pip install 'jobspan[reports]'" in result.stderr


def test_a_file_that_cannot_be_written_is_an_error_in_words(jobspan: Jobspan, tmp_path: Path) -> None:
    """Exit code 2 and one line that names it, for a month and for a reconciliation."""
    (tmp_path / "a.csv").write_text("UID\n")
    path = tmp_path / "nowhere" / "x"
    sides = [part for name in "ab" for part in ("--source", f"{name}=csv:{tmp_path / 'a.csv'}")]
    for command in (("report", "--month", MONTH, "--parquet"), ("reconcile", *sides, "--csv")):
        code, _, err = jobspan(*command, path)
        assert (code, err.count("\n")) == (2, 1), err
        assert f"{path}: cannot be written" in err


@pytest.mark.parametrize("arguments", [("2026-13",), ("May",), (MONTH, "--closing-date", "soon")])
def test_what_is_no_month_or_date_is_refused(jobspan: Jobspan, arguments: tuple[str, ...]) -> None:
    """Exit code 2 and one line, no traceback."""
    code, _, err = jobspan("report", "--month", *arguments)
    assert code == 2
    assert err.count("\n") == 1


@pytest.mark.parametrize("form", ["auditor", "dirac", "ogf"])
def test_records_are_exported_and_can_be_read_back(jobspan: Jobspan, form: str, tmp_path: Path) -> None:
    """Every record that counts, under a name that is none."""
    path = tmp_path / "records.jsonl"
    code, _, err = jobspan("accounting", "export", "--format", form, "--month", MONTH, "--output", path)
    assert (code, err) == (0, "")
    parse = {"auditor": auditor.parse, "dirac": dirac.parse, "ogf": ogf.parse}[form]
    with path.open() as file:
        usages = list(parse(file))
    assert sorted(usage.core_seconds or 0.0 for usage in usages) == [3600.0, 7200.0, 28800.0]
    assert "alice" not in path.read_text()
    assert {usage.user[:7] for usage in usages} == {"hashed-"}


def test_nothing_goes_to_apel_unless_the_site_says_so(jobspan: Jobspan) -> None:
    """Off by default, and refused where the batch system's records are published."""
    code, _, err = jobspan("accounting", "export", "--format", "apel-individual")
    assert (code, "publishes nothing in APEL" in err) == (2, True)


def apel_site(wms: RunningWms, tmp_path: Path, level: str) -> Path:
    """A configuration of a site that publishes that level."""
    path = tmp_path / f"{level}.toml"
    path.write_text(f'[Site]\nAPELLevel = "{level}"\n[Telemetry]\nUserNames = "plain"\n')
    return path


def test_apel_gets_messages_in_its_queue(wms: RunningWms, jobspan: Jobspan, tmp_path: Path) -> None:
    """Individual and summary messages lie where APEL's sender looks for them, and agree with each other."""
    chosen = ("--config", apel_site(wms, tmp_path, "payload"), "accounting", "export", "--month", MONTH)
    code, _, err = jobspan(*chosen, "--format", "apel-individual", "--output", tmp_path / "single")
    assert (code, err) == (0, "")
    code, _, err = jobspan(*chosen, "--format", "apel-summary", "--apel-version", "v0.4", "--output", tmp_path / "sums")
    assert (code, err) == (0, "")
    (single,), (sums,) = (list((tmp_path / name).glob("????????/??????????????")) for name in ("single", "sums"))
    jobs = list(apel.parse(single.read_text().splitlines()))
    months = list(apel.parse(sums.read_text().splitlines()))
    assert [type(each) for each in (jobs[0], months[0])] == [Usage, SummedUsage]
    assert sum(each.wall_seconds or 0.0 for each in jobs) == sum(each.wall_seconds or 0.0 for each in months) == 10800.0
    assert {each.user for each in jobs} == {"alice"}


def test_payloads_are_never_published_beside_batch_jobs(wms: RunningWms, jobspan: Jobspan, tmp_path: Path) -> None:
    """Neither where the site says that it publishes those, nor into a folder in which such messages lie."""
    code, _, err = jobspan(
        "--config", apel_site(wms, tmp_path, "batch"), "accounting", "export", "--format", "apel-summary"
    )
    assert (code, "counted twice" in err) == (2, True)
    queue = tmp_path / "outgoing" / "00000001"
    queue.mkdir(parents=True)
    (queue / "00000000000001").write_text(
        "APEL-summary-job-message: v0.2\nSite: x\nMonth: 1\nYear: 2026\nInfrastructureType: grid\n"
        "WallDuration: 1\nCpuDuration: 1\nNumberOfJobs: 1\n%%\n"
    )
    payload = ("--config", apel_site(wms, tmp_path, "payload"), "accounting", "export", "--format", "apel-individual")
    code, _, err = jobspan(*payload, "--output", tmp_path / "outgoing")
    assert (code, "not of the payload level" in err) == (2, True)
    (queue / "00000000000001").unlink()
    assert jobspan(*payload, "--output", tmp_path / "outgoing")[0] == 0
    assert jobspan(*payload, "--output", tmp_path / "outgoing")[0] == 0  # beside our own it may


def test_an_export_to_stdout_is_nothing_else(jobspan: Jobspan) -> None:
    """What is written can be piped; with --json it needs a place of its own."""
    code, out, _ = jobspan("accounting", "export", "--format", "ogf")
    assert code == 0
    assert len([json.loads(line) for line in out.splitlines()]) == 3
    assert jobspan("accounting", "export", "--format", "ogf", "--json")[0] == 2
    assert jobspan("accounting", "export")[0] == 2


def test_users_have_one_name_outside_wherever_the_key_is_the_same(tmp_path: Path) -> None:
    """The key is made once, for its owner alone; another key gives other names, and `plain` the name itself."""
    first, other = load(folder=tmp_path / "a", environment={}), load(folder=tmp_path / "b", environment={})
    name = user_names(first)("alice")
    assert name == user_names(first)("alice") == user_names(first)(name)
    assert name not in ("alice", user_names(other)("alice"), user_names(first)("bob"))
    key = tmp_path / "a" / "user-hash.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    shared = {"Telemetry": {"UserHashKeyFile": str(key)}}
    assert user_names(load(folder=tmp_path / "c", environment={}, overrides=shared))("alice") == name
    plain = {"Telemetry": {"UserNames": "plain"}}
    assert user_names(load(folder=tmp_path / "c", environment={}, overrides=plain))("alice") == "alice"
    absent = {"Telemetry": {"UserHashKeyFile": str(tmp_path / "none")}}
    with pytest.raises(Exception, match="UserHashKeyFile"):
        user_names(load(folder=tmp_path / "c", environment={}, overrides=absent))
