"""The fault suite, in its short form: some of each campaign, and what the suite itself must notice."""

from functools import partial
from pathlib import Path

import pytest

from tests.faults import run
from tests.faults.campaigns import CAMPAIGNS, Campaign, Seen, is_fleeting
from tests.faults.plan import Plan, Strike, Trial, Verdict
from tests.faults.relay import NetworkFault
from tests.faults.run import fire
from tests.faults.scenes import BadCollector
from tests.faults.table import coverage, table
from tests.support.components import require

KILL = "SIGKILL"
#: One of each kind of fault; `make faults` has them all.
TRIALS = (
    Trial("wrapper", "full", (Strike("wrapper:WrapperStarted#1", "before", KILL),)),
    Trial("wrapper", "full", (Strike("wrapper:StageFinished#2", "torn", KILL),)),
    Trial("wrapper", "full", (Strike("wrapper:PayloadPlanned#1", "after", KILL),)),
    Trial("wrapper", "stubborn", (Strike("wrapper:SignalSent#1", "after", KILL),)),
    Trial("wrapper", "killed", (Strike("wrapper:KillRequested#1", "before", KILL),)),
    Trial("wrapper", "fenced", (Strike("wrapper:KillRequested#1", "before", KILL),)),
    Trial("wrapper", "bare", (Strike("wrapper:AttemptEnded#1", "torn", KILL),)),
    Trial("wrapper", "bare", (Strike("wms-accounting.acks#1", "before", KILL),)),
    Trial("wrapper", "full", (Strike("wrapper:StageStarted#4", "after", "SIGTERM"),)),
    Trial("wrapper", "limit", (Strike("wrapper:PayloadStarted#1", "after", "SIGINT"),)),
    Trial("network", "bare", (), (NetworkFault("POST /api/jobspan/match", 1, "lost"),)),
    Trial("network", "bare", (), (NetworkFault("POST /api/jobspan/jobs/{id}/report", 1, "lost"),)),
    Trial("network", "bare", (), (NetworkFault("POST /api/jobspan/accounting", 1, "lost"),)),
    Trial("network", "bare", (), (NetworkFault("POST /api/jobspan/accounting", 1, "html"),)),
    Trial("clock", "bare", (Strike("wrapper:StageStarted#1", "after", "clock:-3600"),)),
    Trial(
        "corrupt",
        "full",
        (
            Strike("wrapper:PayloadStarted#1", "after", "garble:wrapper.journal.jsonl"),
            Strike("wrapper:PayloadStarted#1", "after", KILL),
        ),
    ),
)
#: Those after which an agent or a WMS has to be started again.
RESTARTS = (
    Trial("agent", "bare", (Strike("agent:matched#1", "after", KILL),)),
    Trial("agent", "bare", (Strike("agent:JobMatched#1", "torn", KILL),)),
    Trial("agent", "bare", (Strike("agent:forked#1", "after", KILL),)),
    Trial("pair", "full", (Strike("wrapper:PayloadStarted#1", "after", KILL, ("self", "agent")),)),
    Trial("wms", "bare", (), (NetworkFault("POST /api/jobspan/accounting", 1, "wms SIGKILL after"),)),
)


def _problems(folder: Path, trials: tuple[Trial, ...], slots: int) -> tuple[list[str], str]:
    verdicts = fire(Campaign("short", "", lambda _: [], slots=slots), trials, folder / "site")
    return [f"{each.trial}: {problem}" for each in verdicts for problem in each.problems], table(verdicts)


@pytest.mark.parametrize(("trials", "slots"), [(TRIALS, 4), (RESTARTS, 1)], ids=["jobs", "restarts"])
def test_every_fault_leaves_one_end_and_one_record(
    tmp_path: Path, trials: tuple[Trial, ...], slots: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever is struck: one end, one record at each sink, no process, no status reversed, and a clean reconciliation
    (promises 1, 5, 6, 7, 8 and 9)."""
    problems, shown = _problems(tmp_path, trials, slots)
    with capsys.disabled():
        print(shown)
    assert problems == []


class BadInSomeWays(BadCollector):
    """One of each kind of answer that is none; `make faults` has them all."""

    faults = ("503", "html", "rubbish", "hole", "lost", "wrong certificate", "down")


def test_a_collector_that_does_much_wrong_loses_no_record(tmp_path: Path) -> None:
    """Down, silent, lying, with a wrong certificate: each record arrives in the end, once by UID."""
    trials = tuple(Trial("collector", "bare") for _ in range(12))
    verdicts = fire(Campaign("collector", "", lambda _: [], scene=BadInSomeWays), trials, tmp_path / "site")
    assert [problem for each in verdicts for problem in each.problems] == []


def test_a_wms_whose_clock_is_an_hour_off_changes_nothing(tmp_path: Path) -> None:
    """Times of two clocks are told apart: the job ends once, and both accountings agree."""
    require("faketime")
    (campaign,) = (each for each in CAMPAIGNS if each.name == "wms-behind")
    verdicts = fire(campaign, [Trial("clock an hour off", "bare")], tmp_path / "site")
    assert [problem for each in verdicts for problem in each.problems] == []
    assert verdicts[-1].faults


def test_a_fault_that_is_never_reached_counts_as_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The suite believes in no fault that it has not seen. What one of two undisturbed jobs had passed is struck for a
    few times; when it does not come along it is no fault, and is named."""
    monkeypatch.setattr(run, "TRIES", 1)
    rare, never = (Strike(f"wrapper:{name}#99", "after", KILL) for name in ("OutputSeen", "NoSuchFact"))
    sure = "wrapper:StageStarted#1"
    seen = Seen({"bare": [rare.point, sure]}, {}, {"bare": {sure}})
    trials = [Trial("rare", "bare", (rare,)), Trial("never", "bare", (never,))]
    verdicts = run.fire(Campaign("rare", "", lambda _: []), trials, tmp_path / "site", partial(is_fleeting, seen))
    assert [(each.group, each.passed_by, each.problems) for each in verdicts] == [
        ("rare", False, []),
        ("never", False, []),
        ("rare", True, []),
        ("never", False, [f"never reached: {never}"]),
    ]
    assert is_fleeting(seen, Trial("timed", "bare", (Strike("wrapper:UsageSampled#2", "after", KILL),)))
    assert not is_fleeting(seen, Trial("timed", "bare", (Strike("wrapper:UsageSampled#1", "after", KILL),)))
    assert not is_fleeting(seen, Trial("sure", "bare", (Strike(sure, "after", KILL),)))
    assert "not passed this time, in any of the tries: 1 trials" in coverage(verdicts, {"OutputSeen"}, {})


def test_the_coverage_names_what_was_not_struck() -> None:
    """A kind of fact counts as struck when a fault at it was carried out."""
    verdict = Verdict(
        "any", "any", 1, [{"fault": "SIGKILL after wrapper:StageStarted#1", "last_fact": "", "effect": ""}]
    )
    lines = coverage([verdict], {"StageStarted", "Fenced"}, {"EndKept": "the agent's"}).splitlines()
    assert lines[1:4] == [
        "facts of a wrapper: 2 kinds, 1 struck",
        "  not struck: Fenced",
        "  no wrapper's: EndKept, the agent's",
    ]


def test_plans_survive_their_way_as_json() -> None:
    """What a process reads is what was planned."""
    plan = Plan((Strike("wrapper:StageStarted#1", "torn", KILL, ("self", "wms")),), record=False)
    assert Plan.from_json(plan.to_json()) == plan


def test_every_campaign_has_trials() -> None:
    """No campaign is empty, and names are told apart."""
    points = [
        "agent:JobMatched#1",
        "agent:matched#1",
        "wrapper:StageStarted#1",
        "wms-status.acks#1",
        "otlp-file.acks#1",
    ]
    seen = Seen({"full": points, "bare": points}, {"full": ["POST /api/jobspan/jobs/{id}/report#1"]})
    assert all(each.trials(seen) for each in CAMPAIGNS)
    assert len({each.name for each in CAMPAIGNS}) == len(CAMPAIGNS)
