"""Slow stages: found by what is usual at their site, also when many are slow, and not invented."""

import json
import random
from pathlib import Path
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.cli import main
from telemetry import catalogue as names
from telemetry.clock import NANOSECONDS, SystemClock
from telemetry.live.slow import LEAST_USUAL, Kind, SlowReport, Wanted, slow_stages

NOW_NS = 1_800_000_000 * NANOSECONDS
DAY_NS = 86_400 * NANOSECONDS
STEPS = ("execute", "execute/http")
UID = names.JOB_UID.encode()
SINCE = Wanted(since_ns=NOW_NS - DAY_NS)


def line(job_id: int, seconds: float, *, site: str = "A", job_type: str = "User", at_ns: int = NOW_NS - 10**9,
         stage: str = "execute", operation: float = 0.5, node: str = "node1") -> bytes:  # fmt: skip
    """An attempt with one stage, and an operation in it, as a line of traces.jsonl."""
    start_ns, trace_id = at_ns - round(seconds * 1e9), f"{job_id:032x}"

    def span(number: int, name: str, parent: int, took: float, **attributes: str | int) -> dict[str, object]:
        return {
            "traceId": trace_id,
            "spanId": f"{number:016x}",
            **({"parentSpanId": f"{parent:016x}"} if parent else {}),
            "name": name,
            "kind": 1,
            "startTimeUnixNano": str(start_ns),
            "endTimeUnixNano": str(start_ns + round(took * 1e9)),
            "attributes": [
                {"key": key, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}}
                for key, value in attributes.items()
            ],
        }

    spans = [
        span(1, names.ROOT_SPAN, 0, seconds, **{names.JOB_ID: job_id, names.JOB_ATTEMPT: 1, names.JOB_TYPE: job_type}),
        span(2, names.stage_span(stage), 1, seconds, **{names.STAGE_NAME: stage, names.STAGE_RESULT: "success"}),
        span(3, "http", 2, operation),
    ]
    told = {names.SITE_NAME: site, names.HOST_NAME: node}
    resource = {"attributes": [{"key": key, "value": {"stringValue": value}} for key, value in told.items()]}
    body = {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]}
    return json.dumps(body, separators=(",", ":")).encode() + b"\n"


def looked(folder: Path, *lines: bytes, wanted: Wanted = SINCE) -> SlowReport:
    """What is found in a file of *lines*."""
    path = folder / "traces.jsonl"
    path.write_bytes(b"".join(lines))
    return slow_stages([path, folder / "missing.jsonl"], wanted)


def jobs(report: SlowReport) -> list[int]:
    return [each.timed.job_id for each in report.slow]


def test_the_slow_ones_are_named_worst_first(tmp_path: Path) -> None:
    """Two jobs of thirty took much longer: they are named, the one that lost most time first, with what is usual."""
    lines = [line(number, 10 + number / 100) for number in range(1, 29)]
    report = looked(tmp_path, *lines, line(98, 30), line(99, 100))
    (kind,) = report.kinds
    assert kind.kind == Kind("A", "User", "execute")
    assert jobs(report) == [99, 98]
    assert kind.usual_seconds == pytest.approx(10.155)
    assert kind.lost_seconds == pytest.approx(130 - 2 * 10.155)
    assert (report.attempts, report.spans, kind.looked_at) == (30, 30, 30)


def test_what_is_usual_is_not_moved_by_many_slow_ones(tmp_path: Path) -> None:
    """With four jobs of ten slow, the average and the 95th percentile are slow ones; all four are found."""
    fast = [line(number, 10 + number / 100) for number in range(12)]
    report = looked(tmp_path, *fast, *(line(100 + number, 60) for number in range(8)))
    assert sorted(jobs(report)) == list(range(100, 108))
    assert report.kinds[0].usual_p95_seconds == 60


def test_a_day_on_which_everything_is_slow_is_seen_against_the_days_before(tmp_path: Path) -> None:
    """When all jobs of today are slow, the usual time is that of earlier days."""
    before = [line(number, 10 + number / 100, at_ns=NOW_NS - 3 * DAY_NS) for number in range(LEAST_USUAL)]
    report = looked(tmp_path, *before, *(line(100 + number, 25) for number in range(20)))
    (kind,) = report.kinds
    assert (kind.usual_is_earlier, kind.usual_of, kind.looked_at) == (True, LEAST_USUAL, 20)
    assert len(report.slow) == 20
    assert kind.median_seconds == 25
    assert kind.usual_seconds == pytest.approx(10, abs=0.1)
    assert report.earlier_attempts == LEAST_USUAL


@pytest.mark.parametrize(
    ("usual", "still_usual", "slow"),
    [
        ([10.0 + number * 4 for number in range(25)], 200.0, 300.0),  # wide: five spreads
        ([10.0 + number / 1e4 for number in range(25)], 14.9, 15.1),  # narrow: half the median
        ([0.001 + number / 1e6 for number in range(25)], 0.09, 0.12),  # tiny: a tenth of a second
    ],
)
def test_what_varies_anyhow_is_not_slow(tmp_path: Path, usual: list[float], still_usual: float, slow: float) -> None:
    """Above the median by five spreads, half the median and a tenth of a second: less than any of them is usual."""
    lines = [line(number, each) for number, each in enumerate(usual)]
    assert jobs(looked(tmp_path, *lines, line(98, still_usual), line(99, slow))) == [99]


def test_skipped_stages_take_no_time(tmp_path: Path) -> None:
    """Jobs that skip a stage do not make it look fast."""
    skipped = line(1, 0.0, stage="resolve_input_data").replace(b'"success"', b'"skip"')
    assert looked(tmp_path, skipped, line(2, 5)).spans == 1


def test_a_node_that_stands_out_is_named(tmp_path: Path) -> None:
    """Slow ones that come from one worker node of many are no chance, and it is said; spread over all they are."""
    usual = [line(number, 10, node=f"n{number % 10}") for number in range(60)]
    bad = [line(100 + number, 100, node="n3") for number in range(5)]
    (kind,) = looked(tmp_path, *usual, *bad, line(200, 100, node="n4")).kinds
    assert kind.slow_node is not None
    assert (kind.slow_node.name, kind.slow_node.slow, kind.slow_node.spans, len(kind.slow)) == ("n3", 5, 11, 6)
    spread = [line(100 + number, 100, node=f"n{number}") for number in range(6)]
    (kind,) = looked(tmp_path, *usual, *spread).kinds
    assert (kind.slow_node, len(kind.slow)) == (None, 6)
    alone = [line(number, 10 if number < 60 else 100) for number in range(66)]
    assert looked(tmp_path, *alone).kinds[0].slow_node is None


def test_too_few_have_no_usual_time(tmp_path: Path) -> None:
    """Nine spans say nothing about what is usual, and no span among them is called slow."""
    report = looked(tmp_path, *(line(number, 10) for number in range(LEAST_USUAL - 2)), line(99, 1000))
    assert report.slow == []
    assert report.kinds[0].usual_seconds is None
    assert report.kinds[0].looked_at == LEAST_USUAL - 1


def test_sites_and_types_are_not_mixed(tmp_path: Path) -> None:
    """What is usual at one site is not at another; a site that is slower than the others shows it."""
    lines = [line(number, 10, site="A") for number in range(12)]
    lines += [line(100 + number, 40, site="B") for number in range(12)]
    lines += [line(200 + number, 90, site="A", job_type="Merge") for number in range(12)]
    report = looked(tmp_path, *lines)
    assert report.slow == []
    elsewhere = {(each.kind.site, each.kind.job_type): each.elsewhere_seconds for each in report.kinds}
    assert elsewhere == {("A", "User"): 40, ("B", "User"): 10, ("A", "Merge"): None}


@pytest.mark.parametrize(
    ("wanted", "kinds"),
    [
        (Wanted(since_ns=0, site="A"), {("A", "User", "execute"), ("A", "Merge", "finalize")}),
        (Wanted(since_ns=0, job_type="Merge"), {("A", "Merge", "finalize")}),
        (
            Wanted(since_ns=0, stage="execute"),
            {*(("A", "User", what) for what in STEPS), *(("B", "User", what) for what in STEPS)},
        ),
        (Wanted(since_ns=0, site="C"), set()),
    ],
)  # fmt: skip
def test_only_what_is_wanted_is_looked_at(tmp_path: Path, wanted: Wanted, kinds: set[tuple[str, str, str]]) -> None:
    """By site and type; of a stage that is named also its operations."""
    lines = line(1, 10), line(2, 10, site="B"), line(3, 10, job_type="Merge", stage="finalize")
    found = {
        (each.kind.site, each.kind.job_type, each.kind.what) for each in looked(tmp_path, *lines, wanted=wanted).kinds
    }
    assert found == kinds


def test_copies_count_once_and_damage_is_counted(tmp_path: Path) -> None:
    """An attempt that was rendered twice is one, as its last copy says; a damaged line is skipped and counted."""
    damaged = b'{"resourceSpans":[{"endTimeUnixNano":"%d"\n' % NOW_NS
    report = looked(tmp_path, line(1, 10), line(1, 12), damaged)
    assert (report.attempts, report.spans, report.damaged) == (1, 1, 1)
    assert report.kinds[0].median_seconds == 12


def cut(line: bytes, *parts: tuple[int, ...]) -> list[bytes]:
    """*line* as several, each with the spans of these positions."""
    whole = json.loads(line)["resourceSpans"][0]
    (scope,) = whole["scopeSpans"]
    cuts = [[scope["spans"][each] for each in part] for part in parts]
    documents = [{"resourceSpans": [{**whole, "scopeSpans": [{"spans": spans}]}]} for spans in cuts]
    return [json.dumps(each, separators=(",", ":")).encode() + b"\n" for each in documents]


@pytest.mark.parametrize("parts", [((0,), (1, 2)), ((1, 2), (0,)), ((2,), (0, 1)), ((1,), (2,), (0,))], ids=str)
@pytest.mark.parametrize("stage", ["", "execute"])
def test_an_attempt_that_was_cut_is_one(tmp_path: Path, stage: str, parts: tuple[tuple[int, ...], ...]) -> None:
    """A collector may have put its root, its stages and their operations into lines of their own, in any order: it
    counts as if it were whole, alone and beside a copy that is."""
    whole, pieces, wanted = line(1, 10), cut(line(1, 10), *parts), Wanted(since_ns=SINCE.since_ns, stage=stage)
    expected = looked(tmp_path, whole, wanted=wanted)
    assert expected.spans == (2 if stage else 1)
    for lines in (pieces, [whole, *pieces], [*pieces, whole]):
        assert looked(tmp_path, *lines, wanted=wanted) == expected


def test_only_the_parts_of_the_job_count(tmp_path: Path) -> None:
    """Whatever a payload calls its spans, in the trace of its attempt: they are no stage, no operation, no queue."""
    (sent,) = cut(line(1, 10), (1, 2))
    sent = sent.replace(b'"http"', b'"queue"').replace(b"000002", b"00000b").replace(b"000003", b"00000c")
    sent = sent.replace(b'"resource":{"attributes":[', b'"resource":{"attributes":[{"key":"%b","value":{}},' % UID)
    assert (sent.count(b'"queue"'), sent.count(UID)) == (1, 1)
    for stage in ("", "execute", "queue"):
        wanted = Wanted(since_ns=SINCE.since_ns, stage=stage)
        assert looked(tmp_path, line(1, 10), sent, wanted=wanted) == looked(tmp_path, line(1, 10), wanted=wanted)


def test_what_is_too_old_is_not_looked_at(tmp_path: Path) -> None:
    """Usual times are of a time that can be chosen; older attempts do not count, not even as earlier ones."""
    wanted = Wanted(since_ns=NOW_NS - DAY_NS, usual_since_ns=NOW_NS - 7 * DAY_NS)
    report = looked(tmp_path, line(1, 10), line(2, 10, at_ns=NOW_NS - 8 * DAY_NS), wanted=wanted)
    assert (report.attempts, report.earlier_attempts) == (1, 0)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1 << 32), st.floats(0.5, 5000), st.floats(0.01, 0.15))
def test_injected_ones_are_found_and_none_invented(
    tmp_path_factory: pytest.TempPathFactory, seed: int, seconds: float, spread: float
) -> None:
    """Whatever the usual time and its spread: spans three times as long are found, all of them and no others."""
    chance = random.Random(seed)
    usual = [seconds * chance.uniform(1 - spread, 1 + spread) for _ in range(40)]
    slow = [3 * seconds * chance.uniform(1, 2) for _ in range(chance.randrange(15))]
    lines = [line(number, each) for number, each in enumerate(usual)]
    lines += [line(1000 + number, each) for number, each in enumerate(slow)]
    chance.shuffle(lines)
    report = looked(tmp_path_factory.mktemp("slow"), *lines)
    assert sorted(jobs(report)) == [1000 + number for number in range(len(slow))]
    assert report.kinds[0].median_seconds == pytest.approx(median([*usual, *slow]), rel=1e-6)


def test_the_command_says_what_comes_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`jobspan slow` shows the stage, the job, how many were looked at, and the command that shows it."""
    just_now = SystemClock().utc_ns() - NANOSECONDS
    file = tmp_path / "collected.jsonl"
    lines = [line(number, 10, at_ns=just_now) for number in range(12)]
    file.write_bytes(b"".join([*lines, line(99, 100, at_ns=just_now), line(50, 1, job_type="Few", at_ns=just_now)]))
    given = ["--folder", str(tmp_path / "site"), "slow", "--since", "2h", "--from", str(file)]
    assert main(given) == 0
    said = capsys.readouterr().out
    for wanted in ("14 spans of 14 attempts", "execute", "10.00 s", "1 min 40 s", "10.0x", "next: jobspan trace 99"):
        assert wanted in said, said
    assert "without a usual time: 1 of the spans" in said
    assert main([*given, "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert [each["job_id"] for each in values["slowest"]] == [99]
    for option in ("--since", "--usual"):
        for text in ("yesterday", "-1d", "nan", "1e400d", "\u0661d", "3000w", "999999w"):
            assert main(["--folder", str(tmp_path / "site"), "slow", f"{option}={text}"]) == 2, text
            assert "no time such as" in capsys.readouterr().err
        assert main(["--folder", str(tmp_path / "site"), "slow", f"{option}=2600w"]) == 0
    capsys.readouterr()
    assert main(["--folder", str(tmp_path / "site"), "slow", "--from", str(tmp_path / "none")]) == 2
    assert "there is no file" in capsys.readouterr().err
