"""How sources are read: OTLP in every form that a collector writes, tables in files, and what is broken in them."""

import csv
import json
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from telemetry.ledger.formats import apel, auditor
from telemetry.ledger.record import Record
from telemetry.live.otlp import log_line
from telemetry.live.spans import render
from telemetry.reconcile.columns import COLUMNS
from telemetry.reconcile.settings import Window
from telemetry.reconcile.sources import otlp
from telemetry.reconcile.sources.reading import load
from telemetry.reconcile.sources.wanted import SourceError, parse
from telemetry.reconcile.workbench import Workbench
from tests.support.ledger import matched, whole_life
from tests.support.sides import workbench
from tests.support.tree import ROOT

RECORDS = 12


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Workbench]:
    """A database."""
    with workbench(tmp_path / "work") as opened:
        yield opened


def attempts(**changes: Any) -> list[tuple[Record, bytes]]:
    """Records of some attempts, and the line of OTLP of each."""
    found = []
    for number in range(1, RECORDS + 1):
        life = whole_life(matched(number, **changes))
        record = life.record()
        found.append((record, log_line(render(life.entries, record).logs)))
    return found


def nobody(_: object) -> Iterator[Mapping[str, Any]]:
    """For kinds that fetch nothing."""
    raise AssertionError("nothing is to be fetched")


def rows(bench: Workbench, relation: str) -> list[dict[str, Any]]:
    """What a relation holds, by job."""
    found = bench.rows(f"SELECT {', '.join(COLUMNS)} FROM {relation} ORDER BY job_id")
    return [dict(zip(COLUMNS, row, strict=True)) for row in found]


def expected(record: Record) -> dict[str, Any]:
    """Our columns of a record."""
    return {
        "key": record.text("UID"),
        "job_id": record.integer("JobID"),
        "site": record.text("Site") or None,
        "grp": f"{record.text('VO')}/{record.text('UserGroup')}",
        "cores": record.integer("Processors"),
        "wall_us": record.micros("WallClockTime"),
        "cpu_us": record.micros("CPUTime"),
        "own_cpu_us": record.micros("WrapperCPUTime"),
        "start_us": record.utc_ns("StartTime") // 1000,
        "end_us": record.utc_ns("EndTime") // 1000,
    }


def check(found: list[dict[str, Any]], records: list[Record]) -> None:
    """The rows are those of the records."""
    wanted = [expected(each) for each in records]
    assert [{name: row[name] for name in wanted[0]} for row in found] == wanted


def in_one_line(lines: list[bytes]) -> bytes:
    """What a collector makes of several exports: one document with all records."""
    documents = [json.loads(line) for line in lines]
    joint = {"resourceLogs": [resource for each in documents for resource in each["resourceLogs"]]}
    return json.dumps(joint, separators=(",", ":")).encode() + b"\n"


def with_blanks(lines: list[bytes]) -> bytes:
    """The same document as others may print it."""
    return b"".join(json.dumps(json.loads(line)).encode() + b"\n" for line in lines)


def reordered(lines: list[bytes]) -> bytes:
    """Attributes in another order, value before key."""
    documents = [json.loads(line) for line in lines]
    for document in documents:
        for record in document["resourceLogs"][0]["scopeLogs"][0]["logRecords"]:
            record["attributes"] = [
                {"value": each["value"], "key": each["key"]} for each in reversed(record["attributes"])
            ]
    return b"".join(json.dumps(each, separators=(",", ":")).encode() + b"\n" for each in documents)


def as_collectors_do(lines: list[bytes]) -> bytes:
    """The same document with its texts as they are, without escapes."""
    documents = [json.loads(line) for line in lines]
    return b"".join(compact(each) for each in documents)


def compact(document: Any) -> bytes:
    """A line of JSON without blanks."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


@pytest.mark.parametrize("site", ["LCG.Example.org", "LCG.Zürich.org", 'LCG.O"Brien\\.org'])
@pytest.mark.parametrize("form", [b"".join, in_one_line, with_blanks, reordered, as_collectors_do])
def test_otlp_is_read_in_every_form(form: Any, site: str, bench: Workbench, tmp_path: Path) -> None:
    """Line by line, many records in a line, with blanks, in another order, with escapes or without: the same records
    come out."""
    made = attempts(site=site)
    path = tmp_path / "logs.jsonl"
    path.write_bytes(form([line for _, line in made]))
    relation, problems = otlp.read(bench, "otlp", [path])
    assert problems == []
    check(rows(bench, relation), [record for record, _ in made])


def unlike_each_other(documents: list[Any]) -> None:
    """Events of other writers than the first: an attribute more, one less, other types and orders, odd texts."""
    logs = [each["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0] for each in documents]
    value_of = [{each["key"]: each["value"] for each in log["attributes"]} for log in logs]
    logs[1]["attributes"].reverse()
    logs[2]["attributes"] = [each for each in logs[2]["attributes"] if not each["key"].endswith(".wrapper_cpu_time")]
    value_of[3]["jobspan.accounting.site"]["stringValue"] = "LCG[1]}, {2].org"
    logs[4]["attributes"].insert(12, {"key": "x", "value": {"arrayValue": {"values": [{"intValue": "1"}]}}})
    value_of[5]["jobspan.accounting.cpu_time"].clear()
    value_of[5]["jobspan.accounting.cpu_time"]["intValue"] = "2"
    logs[6]["body"] = {"stringValue": "jobspan.accounting.uid"}
    logs[7]["body"] = {"stringValue": '"jobspan.accounting.uid","value":{"stringValue":"x"}'}
    logs[8]["attributes"].insert(0, {"key": "jobspan.accounting.of_tomorrow", "value": {"boolValue": True}})
    logs[9]["attributes"] = [each for each in logs[9]["attributes"] if each["key"] == "log.record.uid"]
    logs[9]["eventName"] = "another.event"


def test_events_unlike_each_other_are_read_as_a_parser_reads_them(bench: Workbench, tmp_path: Path) -> None:
    """Whoever wrote them: what is found by looking for it is what is found by parsing all, and no other event."""
    documents = [json.loads(line) for _, line in attempts()]
    unlike_each_other(documents)
    found = []
    for name, form in (("fast", compact), ("parsed", lambda each: with_blanks([compact(each)]))):
        (tmp_path / name).write_bytes(b"".join(map(form, documents)))
        relation, problems = otlp.read(bench, name, [tmp_path / name])
        assert problems == []
        found.append(rows(bench, relation))
    assert found[0] == found[1]
    assert len(found[0]) == RECORDS - 1
    assert {row["site"] for row in found[0]} == {"LCG.Example.org", "LCG[1]}, {2].org"}


#: Reads a file in small pieces, by two processes; in a process of its own, as the pool leaves a helper behind.
BY_TWO = """
import json, sys
from pathlib import Path
from runner.compose.reconciliation import by_processes
from telemetry.reconcile.sources import otlp
from tests.support.sides import workbench
otlp._PIECE = int(sys.argv[2])
with workbench(Path(sys.argv[1]).with_name("two")) as bench:
    relation, problems = otlp.read(bench, "otlp", [Path(sys.argv[1])], by_processes(2))
    print(json.dumps([bench.rows(f"SELECT key FROM {relation} ORDER BY job_id"), problems]))
"""


def test_processes_share_a_file(tmp_path: Path) -> None:
    """Pieces that another process has read come back as those that this one has read, with what was damaged."""
    made = attempts()
    line = made[0][1]
    damaged = b"nonsense\n" + b"\xff" + line[1:] + line.replace(b"gridpp", b"grid\xff\xff")
    path = tmp_path / "logs.jsonl"
    path.write_bytes(b"".join(line for _, line in made) + damaged)
    command = [sys.executable, "-c", BY_TWO, str(path), str(2 * len(line))]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, timeout=60)
    keys, problems = json.loads(done.stdout)
    assert keys == [[record.text("UID")] for record, _ in made]
    assert problems == ["otlp: 3 lines of OTLP are damaged"]


def test_pieces_of_a_file_make_the_whole(bench: Workbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever a file is cut into pieces, each line is read once."""
    made = attempts()
    path = tmp_path / "logs.jsonl"
    path.write_bytes(b"".join(line for _, line in made))
    length = len(made[0][1])
    for size in (length - 1, length, length + 1, 3 * length, 100):
        monkeypatch.setattr(otlp, "_PIECE", size)
        relation, _ = otlp.read(bench, f"otlp{size}", [path])
        check(rows(bench, relation), [record for record, _ in made])


def test_what_is_damaged_is_counted(bench: Workbench, tmp_path: Path) -> None:
    """A torn line, one that is no JSON and one that is being written do not hide the others, and are told."""
    made = attempts()
    lines = [line for _, line in made]
    path = tmp_path / "logs.jsonl"
    path.write_bytes(lines[0] + lines[1][:3000] + b"\n" + b"nonsense\n" + b"".join(lines[2:]) + lines[1][:100])
    relation, problems = otlp.read(bench, "otlp", [path])
    check(rows(bench, relation), [record for record, _ in [made[0], *made[2:]]])
    assert problems == ["otlp: 2 lines of OTLP are damaged"]


def test_a_record_without_times_is_told(bench: Workbench, tmp_path: Path) -> None:
    """What cannot be compared is a problem, not an agreement."""
    line = attempts()[0][1].replace(b"2026-01-15T12:00:03.051000Z", b"the day after tomorrow...")
    (tmp_path / "logs.jsonl").write_bytes(line)
    loaded = load(bench, parse(f"o=otlp:{tmp_path / 'logs.jsonl'}"), Window(), nobody)
    assert "1 records lack" in loaded.problems[0]


def test_csv_of_records_and_of_others(bench: Workbench, tmp_path: Path) -> None:
    """Our fields are known by their names; a table of somebody else by a mapping, with its durations and its zone."""
    records = [record for record, _ in attempts()]
    ours, theirs = tmp_path / "ours.csv", tmp_path / "theirs.csv"
    with ours.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(records[0]))
        writer.writeheader()
        writer.writerows(dict(each) for each in records)
    check(rows(bench, load(bench, parse(f"a=csv:{ours}"), Window(), nobody).relation), records)
    theirs.write_text(
        "Job,Wall,CPU,Cores,Start,Done\n"
        "x1,1-01:00:00,02:00:30,8,2026-07-01 12:00:00,2026-07-02T13:00:00\n"
        "x2,90,1.5,1,2026-12-01 12:00:00,1796126490\n"
    )
    wanted = f"b=csv:{theirs},uid=Job,wall=Wall,cpu=CPU,cores=Cores,start=Start,end=Done,zone=Europe/Berlin"
    first, second = rows(bench, load(bench, parse(wanted), Window(), nobody).relation)
    assert (first["wall_us"], first["cpu_us"], first["cores"]) == (90_000_000_000, 7_230_000_000, 8)
    assert first["end_us"] - first["start_us"] == 90_000_000_000
    assert first["start_us"] == 1_782_900_000_000_000  # 10:00 UTC in summer
    assert (second["start_us"], second["end_us"]) == (1_796_122_800_000_000, 1_796_126_490_000_000)  # 11:00 in winter


#: Values that are none, by the column that they stand in, and others that are read.
UNREAD = {
    "Elapsed": ["5 h 12 min", "1 day, 2:00:00", "1:xx:03", "1:02:03:04", "nan", "-01:00:00"],
    "TotalCPU": ["1.234,5"],
    "NCPUS": ["4 cores"],
    "End": ["31.10.2026 23:59:59"],
}
READ = {"Elapsed": "1-02:03:04.5", "TotalCPU": "12:30", "NCPUS": "4", "End": "2026-10-31T23:59:59"}
MAPPED = "uid=Job,wall=Elapsed,cpu=TotalCPU,cores=NCPUS,end=End"


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_values_that_cannot_be_read_are_told(kind: str, bench: Workbench, tmp_path: Path) -> None:
    """What is not read is not compared, so it must be said, by its column; nothing at all is no value."""
    made = [{"Job": "fine", **READ}, {"Job": "empty", **dict.fromkeys(READ, " ")}]
    made += [{"Job": value, **READ, column: value} for column, values in UNREAD.items() for value in values]
    path = tmp_path / "site.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(made[0]))
        writer.writeheader()
        writer.writerows(made)
    if kind == "parquet":
        bench.run(f"COPY (FROM read_csv('{path}', all_varchar = true)) TO '{path.with_suffix('.parquet')}'")
    loaded = load(bench, parse(f"site={kind}:{path.with_suffix('.' + kind)},{MAPPED}"), Window(), nobody)
    assert set(loaded.problems) == {
        "site: 6 values of Elapsed (wall) cannot be read",
        "site: 1 values of TotalCPU (cpu) cannot be read",
        "site: 1 values of NCPUS (cores) cannot be read",
        "site: 1 values of End (end) cannot be read",
    }
    found = {row["key"]: row for row in rows(bench, loaded.relation)}
    assert [found["fine"][each] for each in ("wall_us", "cpu_us", "cores")] == [93_784_500_000, 750_000_000, 4]
    assert all(found[each]["wall_us"] is None for each in ["empty", *UNREAD["Elapsed"]])


def test_values_of_records_that_cannot_be_read_are_told(bench: Workbench, tmp_path: Path) -> None:
    """The same of tables with our own names: of a record, and of the engine's columns."""
    (tmp_path / "records.csv").write_text("UID,WallClockTime,EndTime\na,1.5,soon\nb,x,2026-10-31T23:59:59Z\n")
    (tmp_path / "columns.csv").write_text("key,wall_us,end_us\na,1,2\nb,1 s,2\n")
    loaded = load(bench, parse(f"a=csv:{tmp_path / 'records.csv'}"), Window(), nobody)
    assert set(loaded.problems) == {
        "a: 1 values of WallClockTime (wall) cannot be read",
        "a: 1 values of EndTime (end) cannot be read",
    }
    loaded = load(bench, parse(f"b=csv:{tmp_path / 'columns.csv'}"), Window(), nobody)
    assert loaded.problems == ("b: 1 values of wall_us (wall) cannot be read",)


@pytest.mark.parametrize(
    ("options", "said"),
    [("", "neither ours nor told"), (",uid=Nobody", "no column Nobody"), (",colour=A", "colour is no field")],
)
def test_a_table_that_is_not_understood_is_refused(options: str, said: str, bench: Workbench, tmp_path: Path) -> None:
    """A table with unknown columns is not guessed at."""
    (tmp_path / "x.csv").write_text("A,B\n1,2\n")
    with pytest.raises(SourceError, match=said):
        load(bench, parse(f"x=csv:{tmp_path / 'x.csv'}{options}"), Window(), nobody)


def test_slurm_is_read_as_pilots(bench: Workbench, tmp_path: Path) -> None:
    """What sacct prints becomes pilots, of the site that is told; a torn line is a problem and not the end of all."""
    (tmp_path / "jobs.txt").write_text(
        "JobIDRaw|NodeList|Start|End|ElapsedRaw|TotalCPU|AllocCPUS|State\n"
        "17|wn1|2026-11-01T10:00:00|2026-11-01T11:00:00|3600|00:50:00|4|COMPLETED\n"
        "18|wn1|2026-11-01T1"
    )
    loaded = load(bench, parse(f"b=sacct:{tmp_path / 'jobs.txt'},site=S,zone=Europe/Berlin"), Window(), nobody)
    (row,) = rows(bench, loaded.relation)
    assert loaded.level == "pilot"
    assert loaded.problems == ("b: 1 lines of sacct cannot be read, such as '18|wn1|2026-11-01T1'",)
    assert (row["batch"], row["site"], row["cores"], row["cpu_us"]) == ("17", "S", 4, 3_000_000_000)
    assert row["start_us"] == 1_793_523_600_000_000  # 09:00 UTC


@pytest.mark.parametrize("form", ["apel", "auditor"])
def test_what_others_wrote_is_never_held_as_a_whole(form: str, bench: Workbench, tmp_path: Path) -> None:
    """A file may be larger than memory: what is held of it does not grow with it."""
    (record, _), *_ = attempts()
    render = apel.individual if form == "apel" else auditor.render
    (one,) = render([record])
    count = 4000
    with (tmp_path / "many").open("w") as file:
        file.writelines([one] * count)
    tracemalloc.start()
    try:
        loaded = load(bench, parse(f"x={form}:{tmp_path / 'many'}"), Window(), nobody)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert bench.value(f"SELECT count(*) FROM {loaded.relation}") == count
    assert peak < 1 << 20


@pytest.mark.parametrize("number", [0, 1])
def test_sums_beside_single_jobs_are_refused(number: int, bench: Workbench, tmp_path: Path) -> None:
    """They would count the same twice, whichever comes first."""
    made = [record for record, _ in attempts()]
    forms = [*apel.individual(made), *apel.summary(made)]
    (tmp_path / "both").write_text(forms[number] + forms[1 - number])
    with pytest.raises(SourceError, match="count the same twice"):
        load(bench, parse(f"x=apel:{tmp_path / 'both'}"), Window(), nobody)
    (tmp_path / "sums").write_text(forms[1])
    assert load(bench, parse(f"x=apel:{tmp_path / 'sums'}"), Window(), nobody).level == "sum"


@pytest.mark.parametrize(
    "foreign",
    [
        "htcondor-batch-ce-01-prod.example.org#17.0#1793491200",
        "9b2f0c1e-58a4-4d7e-9f3c-6a1d2e3f4a5b",  # a random UUID, as other systems give them
        "9b2f0c1e58a45d7e9f3c6a1d2e3f4a5b",
    ],
)
def test_a_name_of_others_is_never_taken_for_ours(foreign: str, bench: Workbench, tmp_path: Path) -> None:
    """A record of ours comes back under its UID; whatever else names a job names one of the batch system."""
    (record, _), *_ = attempts()
    (line,) = auditor.render([record])
    (tmp_path / "lines").write_text(line + line.replace(record.text("UID"), foreign))
    loaded = load(bench, parse(f"x=auditor:{tmp_path / 'lines'}"), Window(), nobody)
    named = {(row["key"], row["batch"]) for row in rows(bench, loaded.relation)}
    assert named == {(record.text("UID"), None), (None, foreign)}
