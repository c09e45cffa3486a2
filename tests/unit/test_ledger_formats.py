"""Accounting in the words of others: it can be read, by us and by them, and says what the record says."""

import json
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import pyauditor
import pytest

from telemetry.ledger.formats import apel, auditor, dirac, ogf
from telemetry.ledger.formats.usage import FormatError, SummedUsage, Usage, group_parts, objection
from telemetry.ledger.record import Record
from tests.support.ledger import matched, whole_life

BASE = whole_life(matched(1)).record()


def record(job_id: int = 1, **changes: Any) -> Record:
    """A record of one of several jobs at a site with a benchmark."""
    values = {
        "UID": f"{BASE.text('UID')[:-4]}{job_id:04d}", "JobID": job_id, "Processors": 8, "BenchmarkName": "HEPscore23",
        "BenchmarkValue": 12.5, "StartTime": "2026-11-03T10:00:00.250000Z", "EndTime": "2026-11-03T12:00:00.750000Z",
        "WallClockTime": 7200.5, "CPUTime": 50_000.4, "ExecTime": 57_604.0, "PeakRSS": 3_000_000_000,
    }  # fmt: skip
    return BASE.replace(**{**values, **changes})


def lines(pieces: Iterable[str]) -> list[str]:
    return "".join(pieces).splitlines(keepends=True)


@pytest.mark.parametrize("version", ["v0.3", "v0.4"])
def test_apel_individual_messages_come_back(version: apel.Version) -> None:
    """Site, who, times, durations in whole seconds, cores and benchmark survive both versions, labelled as payload."""
    text = lines(apel.individual([record()], version=version))
    assert text[0] == f"APEL-individual-job-message: {version}\n"
    (usage,) = apel.parse(text)
    assert usage == Usage(
        uid=record().text("UID"), site="LCG.Example.org", vo="gridpp", group="users", user="ada",
        computing_element="ce1", queue="", start=1793700000.0, end=1793707200.0, wall_seconds=7200.0,
        cpu_seconds=50_000.0, core_seconds=57_600.0, processors=8, benchmark="hepscore23", benchmark_value=12.5,
        level="payload",
    )  # fmt: skip


def test_apel_messages_have_at_most_a_thousand_records() -> None:
    """1001 records are two messages, each with its header; nothing is lost between them."""
    messages = list(apel.individual(record(number) for number in range(1, 1002)))
    assert [message.count("%%") for message in messages] == [1000, 1]
    assert {message.splitlines()[0] for message in messages} == {"APEL-individual-job-message: v0.3"}
    assert len({usage.uid for usage in apel.parse(lines(messages)) if isinstance(usage, Usage)}) == 1001


@pytest.mark.parametrize("version", ["v0.3", "v0.4"])
def test_apel_summaries_are_the_sums_of_the_individual_messages(version: apel.Version) -> None:
    """By month, user, VO, group, host, benchmark and cores; each sum is that of what APEL gets in single messages."""
    records = [
        record(1), record(2, CPUTime=1.5), record(3, WallClockTime=0.5), record(4, Processors=1),
        record(5, User="eve"), record(6, BenchmarkValue=10.0), record(7, EndTime="2026-12-01T00:00:00.000000Z"),
    ]  # fmt: skip
    single = [each for each in apel.parse(lines(apel.individual(records))) if isinstance(each, Usage)]
    sums = [each for each in apel.parse(lines(apel.summary(records, version=version))) if isinstance(each, SummedUsage)]
    assert len(sums) == 5
    assert sum(each.jobs for each in sums) == 7
    assert sum(each.wall_seconds for each in sums) == sum(each.wall_seconds or 0 for each in single)
    assert sum(each.cpu_seconds for each in sums) == sum(each.cpu_seconds for each in single)
    assert {(each.year, each.month) for each in sums} == {(2026, 11), (2026, 12)}
    assert {each.level for each in sums} == {"payload"}
    first = next(each for each in sums if each.jobs == 3)
    assert (first.earliest_end, first.latest_end, first.processors) == (1793707200.0, 1793707200.0, 8)


def test_an_unknown_benchmark_is_left_to_apel() -> None:
    """APEL knows three benchmarks and refuses others; without one it counts unscaled, but its v0.4 fails."""
    other = record(BenchmarkName="db16")
    assert "ServiceLevel" not in "".join(apel.individual([other]))
    assert not apel.objection(other, "v0.3")
    assert "v0.4 wants a benchmark" in apel.objection(other, "v0.4")
    assert not apel.objection(record(), "v0.4")


def test_no_text_of_a_job_makes_lines_of_a_message() -> None:
    """What somebody calls himself or his queue cannot end a record, nor add a field to it."""
    hostile = record(Queue="q\n%%\nSite: other", User="eve\r\nWallDuration: 9999999\u2028x")
    (usage,) = apel.parse(lines(apel.individual([hostile])))
    assert (usage.site, usage.wall_seconds) == ("LCG.Example.org", 7200.0)


def test_apel_messages_of_others_are_read() -> None:
    """What batch systems' parsers write: a FQAN, several benchmarks, no blank; and no label of the payload level."""
    text = """APEL-individual-job-message: v0.4
Site: SOME-SITE
LocalJobId: 77
GlobalUserName:/DC=ac/CN=bob
FQAN: /atlas/prod/Role=production/Capability=NULL
WallDuration: 100
CpuDuration: 90
Processors: 2
InfrastructureType: grid
StartTime: 1531869580
EndTime: 1531869680
ServiceLevel: {hepspec: 11.4, HEPscore23: 15.3}
%%
"""
    (usage,) = apel.parse(text.splitlines())
    assert isinstance(usage, Usage)
    assert (usage.vo, usage.group, usage.user) == ("atlas", "prod", "/DC=ac/CN=bob")
    assert (usage.benchmark, usage.benchmark_value, usage.level) == ("hepscore23", 15.3, "")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("APEL-sync-message: v0.1\nSite: x\n%%", "no message of individual jobs"),
        ("Site: x\n%%", "no header"),
        ("APEL-individual-job-message: v0.3\nSite: x\n%%", "LocalJobId is missing"),
        ("APEL-individual-job-message: v0.3\nnonsense", "no colon"),
        ("APEL-summary-job-message: v0.2\nSite: x\nMonth: May\nYear: 2026\n%%", "invalid literal"),
    ],
)
def test_what_is_no_message_is_refused_in_words(text: str, said: str) -> None:
    """The error says where, and what is wrong."""
    with pytest.raises(FormatError, match=said):
        list(apel.parse(text.splitlines()))


def test_auditor_takes_our_records() -> None:
    """AUDITOR's own client accepts every name and value, and renders the very document that we write."""
    (line,) = auditor.render([record(User="/DC=org/CN=ada (x)")])
    ours = json.loads(line)
    said = [ours["record_id"], *(value for values in ours["meta"].values() for value in values)]
    assert not [text for text in said if set(text) & set('/()"<>\\{}')]  # AUDITOR's server refuses these
    built = pyauditor.Record(ours["record_id"], moment(ours["start_time"])).with_stop_time(moment(ours["stop_time"]))
    for each in ours["components"]:
        component = pyauditor.Component(each["name"], each["amount"])
        for score in each["scores"]:
            component = component.with_score(pyauditor.Score(score["name"], score["value"]))
        built = built.with_component(component)
    meta = pyauditor.Meta()
    for name, values in ours["meta"].items():
        meta = meta.insert(name, values)
    theirs = json.loads(built.with_meta(meta).to_json())
    assert {**theirs, **{name: moment(theirs[name]) for name in ("start_time", "stop_time")}} == {
        **ours,
        **{name: moment(ours[name]) for name in ("start_time", "stop_time")},
    }
    (usage,) = auditor.parse([json.dumps([theirs])])
    assert (usage.user, usage.group, usage.level) == ("/DC=org/CN=ada (x)", "users", "payload")


def moment(text: str) -> datetime:
    """As AUDITOR's client takes times: UTC."""
    return datetime.fromisoformat(text).astimezone(UTC)


def test_auditor_records_come_back() -> None:
    """Cores, CPU in seconds, benchmark and who survive."""
    (usage,) = auditor.parse(auditor.render([record()]))
    assert (usage.uid, usage.site, usage.vo) == (record().text("UID"), "LCG.Example.org", "gridpp")
    assert (usage.processors, usage.cpu_seconds, usage.wall_seconds) == (8, 50_000.0, 7200.5)
    assert (usage.benchmark, usage.benchmark_value) == ("HEPscore23", 12.5)


def test_dirac_records_have_all_keys_and_values_of_the_type() -> None:
    """The Job type's nine keys and eleven whole values; ExecTime is core time."""
    (line,) = dirac.render([record()])
    assert set(json.loads(line)) == {"Type", "startTime", "endTime", *dirac.KEYS, *dirac.VALUES}
    (usage,) = dirac.parse([line])
    assert (usage.core_seconds, usage.cpu_seconds, usage.processors) == (57_604.0, 50_000.0, None)
    assert not dirac.objection(record())
    assert "ExecTime" in dirac.objection(record(ExecTime=33_350_401.0))


def test_ogf_records_come_back_to_the_microsecond() -> None:
    """Identity, subject, durations and service level survive."""
    (usage,) = ogf.parse(ogf.render([record(CPUTime=0.000001)]))
    assert (usage.uid, usage.vo, usage.group, usage.user) == (record().text("UID"), "gridpp", "users", "ada")
    assert (usage.wall_seconds, usage.cpu_seconds, usage.core_seconds) == (7200.5, 0.000001, 57_604.0)
    assert (usage.benchmark_value, usage.level) == (12.5, "payload")


WRITERS: list[Callable[..., Iterator[str]]] = [apel.individual, apel.summary, auditor.render, dirac.render, ogf.render]


@pytest.mark.parametrize("render", WRITERS, ids=lambda each: f"{each.__module__.rpartition('.')[2]}-{each.__name__}")
def test_users_are_named_as_the_site_wants(render: Callable[..., Iterator[str]]) -> None:
    """No form has the user's own name when the site gives another."""
    text = "".join(render([record(User="ada.lovelace")], users=lambda name: f"hashed-{len(name)}"))
    assert "lovelace" not in text
    assert "hashed-12" in text


@pytest.mark.parametrize("parse", [auditor.parse, dirac.parse, ogf.parse], ids=lambda each: each.__module__)
@pytest.mark.parametrize("text", ["{", "[1]", "{}", '{"Type": 1, "components": 3}'])
def test_what_is_no_record_is_refused_with_its_line(parse: Callable[[list[str]], Iterator[Usage]], text: str) -> None:
    """Broken lines are errors in words, never a traceback of another kind."""
    with pytest.raises(FormatError, match="line 2"):
        list(parse(["\n", text]))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"Site": ""}, "no site"),
        ({"EndTime": "2026-11-03T09:00:00.000000Z"}, "ends before"),
        ({"CPUTime": -1.0}, "negative"),
        ({"Processors": 0}, "no processors"),
        ({}, ""),
    ],
)
def test_what_nobody_would_take_is_named(changes: dict[str, Any], said: str) -> None:
    """A record that cannot be is kept out of every export, with a reason."""
    found = objection(record(**changes))
    assert said in found
    assert bool(found) == bool(said)


@pytest.mark.parametrize(
    ("path", "parts"),
    [("/atlas/prod/Role=x", ("atlas", "prod")), ("/a/b/c", ("a", "b/c")), ("", ("", "")), ("/a", ("a", ""))],
)
def test_groups_are_read_from_fqans(path: str, parts: tuple[str, str]) -> None:
    """VO first, then the group below it; roles and capabilities are none."""
    assert group_parts(path) == parts
