"""The fault suite, in its short form: some of each campaign, and what the suite itself must notice."""

import os
import signal
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest

from telemetry.entries import Entry
from telemetry.facts import HeartbeatMade, StatusChanged
from tests.faults import points, run
from tests.faults.campaigns import CAMPAIGNS, Campaign, Seen, excuse
from tests.faults.collectors import FAULTS
from tests.faults.field import Field, field
from tests.faults.naming import (
    REPORT,
    last_of,
    of_acknowledgement,
    of_call,
    places,
    waits_for_payload,
    waits_in_stage,
)
from tests.faults.plan import Death, Plan, Shot, Strike, Trial, Verdict
from tests.faults.relay import NetworkFault
from tests.faults.run import fire
from tests.faults.scenes import BadCollector, Flapping, Scene
from tests.faults.table import coverage, shortcomings, table
from tests.faults.verdict import NEVER, _effect, unasked
from tests.support.components import require
from tests.support.processes import look

KILL = "SIGKILL"
DONE = "Done / Execution Complete"
#: Sent twice when the connection is reset; the third of an attempt is made only if that has tried again.
LOOKUP = "POST /api/jobspan/catalog/lookup"
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
    Trial("network", "bare", (), (NetworkFault(f"{REPORT}[Running/Job Initialization]", 1, "lost"),)),
    Trial("network", "bare", (), (NetworkFault("POST /api/jobspan/accounting", 1, "lost"),)),
    Trial("network", "bare", (), (NetworkFault("POST /api/jobspan/accounting", 1, "html"),)),
    Trial("network", "bare", (), (NetworkFault("POST /api/jobspan/accounting", 1, "refused"),)),
    Trial("network", "bare", (), (NetworkFault("POST /api/jobspan/match", 1, "reset"),)),
    Trial("network", "bare", (), (NetworkFault(f"{REPORT}[Running/Job Initialization]", 1, "hole"),)),
    Trial("network", "bare", (), (NetworkFault(f"{REPORT}[Running/Job Initialization]", 1, "503"),)),
    Trial("network", "bare", (), (NetworkFault(f"{REPORT}[Running/Job Initialization]", 1, "cut"),)),
    Trial("network", "bare", (), (NetworkFault("POST /api/jobspan/accounting", 1, "slow"),)),
    Trial("network", "bare", (), (NetworkFault("POST /api/jobspan/accounting", 1, "500"),)),
    Trial("network", "full", (), (NetworkFault("GET /api/jobspan/sandboxes", 1, "302"),)),
    Trial("network", "full", (), tuple(NetworkFault(LOOKUP, number, "reset") for number in (1, 2, 3))),
    Trial("clock", "bare", (Strike("wrapper:StageStarted#1", "after", "clock:-3600"),)),
    Trial("clock", "bare", (Strike("wrapper:StageStarted#1", "after", "clock:3600"),)),
    Trial("pause", "full", (Strike("wrapper:PayloadStarted#1", "after", "pause:1.5"),)),
    Trial(
        "starter",
        "stubborn",
        (Strike("wrapper:PayloadStarted#1", "after", KILL), Strike("starter:SignalSent#1", "after", KILL)),
    ),
    Trial(
        "corrupt",
        "full",
        (
            Strike("wrapper:PayloadStarted#1", "after", "garble:wrapper.journal.jsonl"),
            Strike("wrapper:PayloadStarted#1", "after", KILL),
        ),
    ),
    Trial(
        "corrupt",
        "bare",
        (
            Strike("wms-status.acks[wrapper StatusChanged 1]#1", "after", "garble:wms-status.acks.jsonl"),
            Strike("wms-status.acks[wrapper StatusChanged 1]#1", "after", KILL),
        ),
    ),
)
#: Those after which an agent or a WMS has to be started again.
RESTARTS = (
    Trial("agent", "bare", (Strike("agent:matched#1", "after", KILL),)),
    Trial("agent", "bare", (Strike("agent:JobMatched#1", "torn", KILL),)),
    Trial("agent", "bare", (Strike("agent:forked#1", "after", KILL),)),
    Trial("agent", "bare", (Strike("agent:JobMatched#1", "after", "SIGTERM"),)),
    Trial("pair", "full", (Strike("wrapper:PayloadStarted#1", "after", KILL, ("self", "agent")),)),
    Trial("pair", "full", (Strike("wrapper:PayloadStarted#1", "after", "SIGTERM", ("self", "agent")),)),
    Trial("pair", "full", (Strike("wrapper:StageStarted#2", "after", "SIGINT", ("self", "wms")),)),
    Trial("wms", "bare", (), (NetworkFault("POST /api/jobspan/accounting", 1, "wms SIGKILL after"),)),
    Trial("wms", "bare", (), (NetworkFault("POST /api/jobspan/accounting", 1, "wms SIGTERM within"),)),
    Trial(
        "pair",
        "bare",
        (Strike("wrapper:StageStarted#2", "after", KILL),),
        (NetworkFault("POST /api/jobs/reschedule", 1, "lost"),),
    ),
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


def test_a_record_is_taken_though_the_first_report_was_not_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The WMS binds the attempt to an execution that never hears so: its record is no stranger's."""
    monkeypatch.setattr(run, "TRIES", 0)
    call = f"{REPORT}[Running/Job Initialization]"
    faults = (NetworkFault(call, 1, "lost"), *(NetworkFault(call, number, "reset") for number in range(2, 200)))
    (verdict,) = fire(Campaign("claim", "", lambda _: []), [Trial("claim", "bare", (), faults)], tmp_path / "site")
    assert [each for each in verdict.problems if not each.startswith(NEVER)] == []
    assert verdict.records == verdict.ends == verdict.attempts
    assert len(verdict.faults) > 2


class BadInEachWay(BadCollector):
    """All of it for the agent, and some for the WMS, which sends once a second; `make faults` has all of both."""

    wms_faults = ("html", "503", "reset")


def test_a_collector_that_does_everything_wrong_loses_no_record(tmp_path: Path) -> None:
    """Down, silent, lying, with a wrong certificate: each record arrives in the end, once by UID, and the WMS sends
    on."""
    trials = tuple(Trial("collector", "bare") for _ in range(20))  # of three requests one goes wrong
    verdicts = fire(Campaign("collector", "", lambda _: [], scene=BadInEachWay), trials, tmp_path / "site")
    assert [problem for each in verdicts for problem in each.problems] == []
    assert [len(each.faults) for each in verdicts[-2:]] == [len(FAULTS), 3]


def test_a_wms_whose_clock_is_an_hour_off_changes_nothing(tmp_path: Path) -> None:
    """Times of two clocks are told apart: the job ends once, and both accountings agree."""
    require("faketime")
    (campaign,) = (each for each in CAMPAIGNS if each.name == "wms-behind")
    verdicts = fire(campaign, [Trial("clock an hour off", "bare")], tmp_path / "site")
    assert [problem for each in verdicts for problem in each.problems] == []
    assert verdicts[-1].faults


def test_a_fault_that_is_never_reached_counts_as_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The suite believes in no fault that it has not seen. What only some undisturbed jobs have passed is struck for a
    few times; when it does not come along, and the job ends as those did, it is no fault, and is named with the
    reason."""
    monkeypatch.setattr(run, "TRIES", 1)
    rare, never = (Strike(f"wrapper:{name}#99", "after", KILL) for name in ("OutputSeen", "NoSuchFact"))
    seen = Seen({}, {}, {"bare": {rare.point: 2, never.point: 6}}, 6, {"bare": {DONE}})
    trials = [Trial("rare", "bare", (rare,)), Trial("never", "bare", (never,))]
    verdicts = run.fire(Campaign("rare", "", lambda _: []), trials, tmp_path / "site", partial(excuse, seen))
    reason = f"2 of 6 undisturbed jobs pass {rare.point}; this one ended as they do, without it"
    assert [(each.group, each.excused, each.problems) for each in verdicts] == [
        ("rare", "", []),
        ("never", "", []),
        ("rare", reason, []),
        ("never", "", [f"never reached: {never}"]),
    ]
    assert coverage(verdicts, {"OutputSeen"}, {}).splitlines()[-2:] == [
        "excused, as their point did not come along in any of the tries: 1 trials",
        f"  {verdicts[2].trial}: {reason}",
    ]


@pytest.mark.parametrize(
    ("count", "status", "is_excused"),
    [(6, "Done / Execution Complete", False), (0, "Done / Execution Complete", False), (5, "Failed / Any", False)],
)
def test_what_every_job_passes_is_never_excused(count: int, status: str, is_excused: bool) -> None:
    """Nor is what none has passed, and nothing of a job that ended in another way than the undisturbed ones."""
    trial = Trial("any", "bare", (Strike("wrapper:UsageSampled[execute]#2", "after", KILL),))
    (point,) = trial.points
    seen = Seen({}, {}, {"bare": {point: count}}, 6, {"bare": {DONE}})
    assert bool(excuse(seen, trial, status)) is is_excused


def test_a_job_waits_for_what_the_clock_makes(tmp_path: Path) -> None:
    """Samples, heartbeats and pieces of output that a short job never has come along at the first try: the payload
    waits for them, and before there is one the wrapper in its stage."""
    of_payload = ("wrapper:UsageSampled[execute]#25", "wrapper:HeartbeatMade[execute]#6", "wrapper:OutputSeen#12")
    assert all(waits_for_payload(each) and not waits_in_stage(each, "execute") for each in of_payload)
    of_stage = ("wrapper:UsageSampled[initialize]#3", "wrapper:HeartbeatMade[resolve_input_data]#2")
    assert not any(waits_for_payload(each) for each in of_stage)
    assert waits_in_stage(of_stage[0], "initialize")
    points = (*of_payload, *of_stage)
    verdicts = fire(
        Campaign("timed", "", lambda _: []),
        [Trial("timed", "full", (Strike(each, "after", KILL),)) for each in points],
        tmp_path / "site",
    )
    assert [(len(each.faults), each.excused, each.problems) for each in verdicts] == [(1, "", [])] * len(points)


def test_names_of_points_depend_on_no_batch() -> None:
    """However statuses go along together: each has its own points, in the call and when it is acknowledged."""
    facts = [StatusChanged(status="Running"), HeartbeatMade(values={}), StatusChanged(minor_status="Application")]
    entries = [Entry("wrapper", number, 0, 0, "", fact) for number, fact in enumerate(facts, 1)]
    first, second = (f"wms-status.acks[wrapper StatusChanged {number}]" for number in (1, 2))

    def names(sequence: int, position: int) -> list[str]:
        line = {"writer": "wrapper", "sequence": sequence, "outcome": "accepted"}
        return of_acknowledgement("wms-status.acks", line, {"wrapper": position}, entries)

    assert names(3, 0) == [first, second] == [*names(1, 0), *names(3, 1)]
    body = {"Statuses": {"1": {"Status": "Running"}, "2": {"MinorStatus": "Application"}}, "Parameters": {"TaskID": 7}}
    assert of_call(REPORT, body) == [f"{REPORT}[{each}]" for each in ("Running", "Application", "parameter TaskID")]
    assert of_call(REPORT, {"Parameters": {"TaskID": 7}}) == [f"{REPORT}[parameter TaskID]"]
    # What has always gone together is one place; what has gone alone once is one of its own.
    assert places([[["a", "b", "c"], ["d"]], [["a", "b"], ["c"]]]) == ["a", "c", "d"]
    assert places([[["a", "b"]], [["a"]]]) == ["a", "b"]


def test_an_injection_names_the_last_fact_before_it() -> None:
    """By the moments in which facts were written down, whoever wrote them, and in whatever order they are read."""
    facts = {3: StatusChanged(status="Running"), 1: HeartbeatMade(values={})}
    entries = [Entry("wrapper", moment, 0, moment, "", fact) for moment, fact in facts.items()]
    entries.append(Entry("agent", 1, 0, 2, "", StatusChanged()))
    assert [last_of(entries, before) for before in (None, 3, 2, 1)] == [
        "wrapper:StatusChanged",
        "agent:StatusChanged",
        "wrapper:HeartbeatMade",
        "no fact",
    ]


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


def test_an_end_that_nobody_asked_for_is_a_problem() -> None:
    """A WMS or an agent ends by our signal, after SIGTERM and SIGINT with exit code 0; all else is a finding."""
    shot = Shot(Strike("agent:matched#1", "after", "SIGINT"), "no fact", {"self": 1}, {"self": 1})
    good = [Death("agent", 1, 0), Death("wms", 2, -9, ("SIGKILL",)), Death("wms", 3, 0, ("SIGTERM",))]
    bad = [Death("agent", 4, 1), Death("agent", 5, -9), Death("wms", 6, 0), Death("wms", 7, -11, ("SIGTERM",))]
    assert unasked(good, [shot]) == []
    assert [each.split(" after ")[0] for each in unasked(good + bad, [shot])] == [
        "agent ended with exit code 1",
        "agent ended with exit code -9",
        "wms ended with exit code 0",
        "wms ended with exit code -11",
    ]


def test_an_agent_that_dies_by_itself_fails_its_campaign(tmp_path: Path) -> None:
    """Whatever the campaign is about, and though the next agent brings everything to its end."""

    class Unasked(Scene):
        def tick(self, site: Field, jobs: Mapping[int, Trial]) -> None:
            if not site.deaths and site.agent:
                site.agent.process.send_signal(signal.SIGABRT)

    verdicts = fire(Campaign("any", "", lambda _: [], scene=Unasked), [Trial("any", "bare")], tmp_path / "site")
    assert [each for verdict in verdicts for each in verdict.problems] == [
        "agent ended with exit code -6 after no signal"
    ]


@pytest.mark.parametrize("what", [KILL, "SIGTERM", "SIGINT"])
def test_half_a_pair_is_no_effect(what: str) -> None:
    """That one of two victims was not there, was the other one, or goes on, is no fault of a pair."""
    strike = Strike("agent:JobMatched#1", "after", what, ("self", "wms"))
    ours = look(os.getpid())
    assert ours
    gone, living = (2**22 + 1, 1), (ours.pid, ours.start_ticks)

    def effect(**hit: tuple[int, int]) -> str:
        pids, starts = ({who: each[at] for who, each in hit.items()} for at in (0, 1))
        return _effect(None, 1, Shot(strike, "no fact", pids, starts))  # type: ignore[arg-type]

    assert not effect(self=gone)
    assert not effect(self=gone, wms=gone)
    assert not effect(self=gone, wms=living)
    assert effect(self=gone, wms=(2**22 + 2, 1)) == ("2 killed" if what == KILL else "2 stopped in order")


def test_a_wms_that_was_away_for_nobody_is_a_problem(tmp_path: Path) -> None:
    """Flapping that no call has met has not been tried."""
    with field(tmp_path / "site") as site:
        assert [each.problems for each in Flapping(tmp_path).finish(site, {})] == [
            ["without effect: the WMS was away, and no call was refused"]
        ]


def test_a_disk_that_is_not_full_is_no_effect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a strike does to the disk is seen by a write that fails."""
    monkeypatch.setattr(points, "_fill", lambda _: None)
    assert points.fill(tmp_path / "filler") == ""
    assert not list(tmp_path.iterdir())


def test_a_whole_run_lacks_nothing() -> None:
    """Too few faults, a campaign that was left out, a kind of fact that was not struck: each is said."""
    fault = {"fault": "SIGKILL after wrapper:StageStarted#1", "last_fact": "", "effect": ""}
    whole = Verdict("any", "any", 1, [fault] * 500)
    assert shortcomings([whole], {"StageStarted"}, []) == []
    whole.faults.pop()
    assert shortcomings([whole], {"StageStarted", "Fenced"}, ["disk"]) == [
        "only 499 faults, not 500",
        "disk was left out",
        "not struck: Fenced",
    ]


def test_plans_survive_their_way_as_json() -> None:
    """What a process reads is what was planned."""
    plan = Plan((Strike("wrapper:StageStarted#1", "torn", KILL, ("self", "wms")),), record=False)
    assert Plan.from_json(plan.to_json()) == plan


def test_a_fact_that_came_by_chance_is_provoked_all_the_same() -> None:
    """What a busy machine makes (a late sample) in a few of the full jobs is struck in the shape that always has it,
    not only where it may never come again."""
    late = "wrapper:SamplerLate#1"
    points = {"full": ["wrapper:StageStarted#1", late], "late": ["wrapper:StageStarted#1", late]}
    passed = {"full": {"wrapper:StageStarted#1": 6, late: 2}, "late": dict.fromkeys(points["late"], 6)}
    (campaign,) = (each for each in CAMPAIGNS if each.name == "wrapper-stop")
    trials = campaign.trials(Seen(points, {}, passed, 6))
    assert sorted(each.shape for each in trials if late in each.points) == ["full", "full", "late", "late"]
    assert {each.shape for each in trials if late not in each.points} == {"full"}


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
    assert all(each.every(10, seen) for each in CAMPAIGNS)
    assert len({each.name for each in CAMPAIGNS}) == len(CAMPAIGNS)


def test_a_short_run_reaches_every_fault_of_the_collector() -> None:
    """Each tenth trial of most campaigns, but as many jobs as it takes to see all that a collector can do wrong: two
    requests for each of its faults."""
    short = {
        each.name: len(each.every(10, Seen({}, {}))) for each in CAMPAIGNS if each.name in ("collector", "flapping")
    }
    assert short["collector"] >= 2 * len(FAULTS)
    assert short["flapping"] == 2
