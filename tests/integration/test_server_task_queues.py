"""Task queues: what a slot gets, whose job is next, and what stands against it."""

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest

from runner.job.matching import Requirements
from runner.server.app import open_context
from runner.server.db.engine import Transaction
from runner.server.models import MatchParams
from runner.server.services.job_manager import JobManager
from runner.server.services.job_tokens import JobTokens
from runner.server.services.limiter import Limiter
from runner.server.services.matcher import TRIES, Matcher
from runner.server.services.optimization_mind import OptimizationMind
from runner.server.settings import ServerSettings
from runner.server.tokens import Identity, Role
from telemetry.clock import SystemClock
from tests.support.wms import RunningWms, running_wms

WAIT_SECONDS = 20.0
#: What must not happen has so long to happen.
CHANCE_SECONDS = 0.3
OPTIONS = {
    "WMS": {
        "Shares": ["big=3", "small=1"],
        "RunningLimits": ["LCG.Limit.org/Merge=2", "LCG.Small.org=1", "LCG.Apart.org=1", "LCG.Many.org/Merge=1"],
        "MatchingDelays": ["LCG.Slow.org/User=3600", "LCG.Shared.org=3600"],
    }
}


@pytest.fixture(scope="module")
def wms(tmp_path_factory: pytest.TempPathFactory, database: str) -> Iterator[RunningWms]:
    """One WMS for the module on each kind of database; each test has sites of its own."""
    with running_wms(tmp_path_factory.mktemp("wms"), database=database, overrides=OPTIONS) as running:
        yield running


def submit(wms: RunningWms, site: str, demands: str = "", *, token: str = "") -> int:
    text = f'Executable = "/bin/true"; Site = "{site}"; {demands}'
    answer = wms.call("POST", "/api/jobs/jdl", [text], token=token)
    assert answer.status_code == 201, answer.text
    wms.settle()
    return int(answer.json()[0]["JobID"])


@pytest.mark.parametrize(
    ("demands", "poor", "good"),
    [
        ("NumberOfProcessors = 4;", {"Processors": 3}, {"Processors": 4}),
        ("MinNumberOfProcessors = 2; MaxNumberOfProcessors = 8;", {"Processors": 1}, {"Processors": 2}),
        ("WholeNode = True;", {"Processors": 8}, {"Processors": 8, "WholeNode": True}),
        ("Memory = 4;", {"MemoryMB": 4095}, {"MemoryMB": 4096}),
        ("Memory = 4;", {"MemoryMB": 4095}, {}),
        ("CPUTime = 3600;", {"CPUWorkLeft": 3599}, {"CPUWorkLeft": 3600}),
        ("CPUTime = 3601;", {"CPUWorkLeft": 3601}, {"CPUWorkLeft": 21600}),
        ('Tags = {"GPU", "SSD"};', {"Tags": ["GPU"]}, {"Tags": ["GPU", "SSD", "X"]}),
        ("", {"RequiredTags": ["GPU"]}, {"RequiredTags": []}),
        ('Tags = "GPU";', {"RequiredTags": ["GPU", "X"], "Tags": ["GPU"]}, {"RequiredTags": ["GPU"], "Tags": ["GPU"]}),
        ('JobType = "Merge";', {"JobTypes": ["User"]}, {"JobTypes": ["User", "Merge"]}),
        ("", {"Owners": ["bob"]}, {"Owners": ["alice"]}),
        ("", {"OwnerGroups": ["other"]}, {"OwnerGroups": ["local_user"]}),
        ('Platform = "arm64";', {"Platform": "x86_64"}, {"Platform": "arm64"}),
        ('GridCE = "ce1";', {"GridCE": "ce2"}, {"GridCE": "ce1"}),
    ],
)
def test_a_job_goes_only_where_its_demands_are_met(
    wms: RunningWms, demands: str, poor: dict[str, Any], good: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    """What is missing in the poor slot keeps the job from it, and the good one gets it; tags count both ways."""
    site = f"LCG.Demand{abs(hash(request.node.name))}.org"
    job_id = submit(wms, site, demands)
    assert wms.match(Site=site, **poor) is None
    assert (wms.match(Site=site, **good) or {})["JobID"] == job_id


@pytest.mark.parametrize(
    ("demands", "slot", "granted"),
    [
        ("MinNumberOfProcessors = 2; MaxNumberOfProcessors = 8;", {"Processors": 5}, 5),
        ("MinNumberOfProcessors = 2; MaxNumberOfProcessors = 8;", {"Processors": 32}, 8),
        ("WholeNode = True; NumberOfProcessors = 2;", {"Processors": 48, "WholeNode": True}, 48),
        ("NumberOfProcessors = 2;", {"Processors": 48}, 2),
    ],
)
def test_a_job_that_leaves_its_processors_open_is_told_how_many_it_has(
    wms: RunningWms, demands: str, slot: dict[str, Any], granted: int, request: pytest.FixtureRequest
) -> None:
    """The description that is handed out names the processors that the slot has for the job."""
    site = f"LCG.Granted{abs(hash(request.node.name))}.org"
    submit(wms, site, demands)
    match = wms.match(Site=site, **slot) or {}
    assert match["Description"]["NumberOfProcessors"] == granted


def test_groups_get_slots_by_their_shares(wms: RunningWms) -> None:
    """Of eight slots a group with share 3 has six, one with share 1 two, whoever came first."""
    tokens = {group: wms.token_for(f"user-{group}", Role.USER, group=group) for group in ("small", "big")}
    for token in tokens.values():
        for _ in range(8):
            submit(wms, "LCG.Shares.org", token=token)
    groups = Counter((wms.match(Site="LCG.Shares.org") or {})["OwnerGroup"] for _ in range(8))
    assert groups == {"big": 6, "small": 2}


def test_owners_of_a_group_take_turns(wms: RunningWms) -> None:
    """Whoever has fewer jobs running is next, so that many jobs of one owner do not hold up another's."""
    first, second = (wms.token_for(name, Role.USER, group="turns") for name in ("first", "second"))
    for _ in range(3):
        submit(wms, "LCG.Turns.org", token=first)
    submit(wms, "LCG.Turns.org", token=second)
    owners = [(wms.match(Site="LCG.Turns.org") or {})["Owner"] for _ in range(4)]
    assert owners == ["first", "second", "first", "first"]


def test_a_pilot_gets_jobs_of_its_own_vo_only(wms: RunningWms) -> None:
    """The token says for which virtual organisation a pilot works."""
    job_id = submit(wms, "LCG.VO.org")
    foreign = wms.token_for("pilot", Role.PILOT, vo="other")
    body = {"PilotStamp": "foreign", "Site": "LCG.VO.org"}
    assert wms.call("POST", "/api/jobspan/match", body, token=foreign).json() == {"Job": None}
    assert (wms.match(Site="LCG.VO.org") or {})["JobID"] == job_id


def test_a_lost_match_is_given_again_within_its_vo(wms: RunningWms) -> None:
    """Whoever names the stamp of a pilot of another virtual organisation gets none of its jobs."""
    job_id = submit(wms, "LCG.Lost.org")
    assert (wms.match(Site="LCG.Lost.org", PilotStamp="lost") or {})["JobID"] == job_id
    heir = {"PilotStamp": "heir", "EarlierStamps": ["lost"], "Holding": [], "Site": "LCG.Lost.org"}
    foreign = wms.token_for("pilot", Role.PILOT, vo="other")
    assert wms.call("POST", "/api/jobspan/match", heir, token=foreign).json() == {"Job": None}
    assert (wms.match(**heir) or {})["JobID"] == job_id


def test_a_running_limit_holds_when_many_ask_at_once(wms: RunningWms) -> None:
    """No more jobs of a type are at a site than its limit; another type is not held up by it."""
    for _ in range(6):
        submit(wms, "LCG.Limit.org", 'JobType = "Merge";')
    other = submit(wms, "LCG.Limit.org")
    with ThreadPoolExecutor(8) as pool:
        found = [each for each in pool.map(lambda _: wms.match(Site="LCG.Limit.org"), range(8)) if each]
    assert Counter(each["JobType"] for each in found) == {"Merge": 2, "User": 1}
    assert other in {each["JobID"] for each in found}


def test_who_counts_for_a_limit_keeps_others_from_it(wms: RunningWms) -> None:
    """A second match for the same site waits until the first has given its job away, and then sees that one."""
    submit(wms, "LCG.Apart.org")
    limiter, databases = Limiter(wms.context), wms.context.databases
    with ThreadPoolExecutor(1) as pool:
        with databases.write() as transaction:
            limiter.hold(transaction, "LCG.Apart.org", "User")
            assert not limiter.refusal(transaction, "LCG.Apart.org", "User")
            second = pool.submit(wms.match, Site="LCG.Apart.org")
            assert not wait([second], CHANCE_SECONDS).done
            running = job_id_at(transaction, "LCG.Apart.org")
        assert second.result(WAIT_SECONDS) is None
    wms.report(running, {"Status": "Killed"})


def job_id_at(transaction: Transaction, site: str) -> int:
    """A job that runs there from now on, whoever has given it away."""
    times = dict.fromkeys(("SubmissionTime", "LastStatusTime", "SubmitStart", "SubmitEnd"), 1)
    texts = {"Owner": "alice", "OwnerGroup": "g", "VO": "local", "Status": "Running", "MinorStatus": "m"}
    return transaction.jobs.add({**texts, **times, "Site": site})


def test_a_site_limit_counts_jobs_of_all_types(wms: RunningWms) -> None:
    """A limit without a type is for all jobs of the site; an end makes room."""
    submit(wms, "LCG.Small.org")
    submit(wms, "LCG.Small.org", 'JobType = "Merge";')
    first = wms.match(Site="LCG.Small.org") or {}
    assert wms.match(Site="LCG.Small.org") is None
    wms.report(first["JobID"], {"Status": "Failed"}, token=first["JobToken"])
    assert wms.match(Site="LCG.Small.org")


def test_a_matching_delay_spaces_out_jobs(wms: RunningWms) -> None:
    """After a match the next one of that type at that site comes later, elsewhere at once."""
    for site in ("LCG.Slow.org", "LCG.Slow.org", "LCG.Fast.org", "LCG.Fast.org"):
        submit(wms, site)
    assert wms.match(Site="LCG.Slow.org")
    assert wms.match(Site="LCG.Slow.org") is None
    assert all(wms.match(Site="LCG.Fast.org") for _ in range(2))


def test_a_matching_delay_is_of_all_processes(wms: RunningWms) -> None:
    """Another process of the same WMS knows of the match, too."""
    for _ in range(2):
        submit(wms, "LCG.Shared.org")
    assert wms.match(Site="LCG.Shared.org")
    other = Matcher(wms.context, JobTokens(wms.context))
    pilot = Identity("pilot", "pilots", "local", frozenset({Role.PILOT}))
    assert other.match(pilot, MatchParams(PilotStamp="p", Site="LCG.Shared.org")) is None


def test_a_killed_job_leaves_its_queue(wms: RunningWms) -> None:
    """What does not wait any more is given to nobody."""
    job_id = submit(wms, "LCG.Killed.org")
    wms.report(job_id, {"Status": "Killed"})
    assert wms.match(Site="LCG.Killed.org") is None


def test_an_attempt_that_was_given_away_before_stops_nobody(wms: RunningWms) -> None:
    """A job that waits although its attempt is with somebody gets the next attempt, and those behind it are given."""
    bad = submit(wms, "LCG.Twice.org")
    assert wms.match(Site="LCG.Twice.org")
    good = submit(wms, "LCG.Twice.org")
    with wms.context.databases.write() as transaction:
        transaction.jobs.change(bad, {"Status": "Waiting"})
    given = [wms.match(wait_seconds=WAIT_SECONDS, Site="LCG.Twice.org") for _ in range(2)]
    assert [(each["JobID"], each["Attempt"]) for each in given if each] == [(good, 1), (bad, 2)]


def test_a_queue_that_asks_for_lists_stops_nobody(wms: RunningWms) -> None:
    """Demands as an earlier version took them in are met by no slot, are told by why, and hold up no other job."""
    bad = submit(wms, "LCG.Lists.org")
    wanted = Requirements(owner="alice", owner_group="local_user", vo="local", computing_elements=(["ce1"],))  # type: ignore[arg-type]
    with wms.context.databases.write() as transaction:
        queue_id = transaction.task_queues.find_or_add(wanted.digest, "local", 0, wanted.text)
        transaction.jobs.change(bad, {"TaskQueueID": queue_id})
    good = submit(wms, "LCG.Lists.org")
    match = wms.match(wait_seconds=WAIT_SECONDS, Site="LCG.Lists.org", GridCE="ce1")
    assert match
    assert match["JobID"] == good
    why = wms.call("GET", f"/api/jobspan/jobs/{bad}/why")
    assert why.status_code == 200
    wms.call("POST", "/api/jobspan/jobs/kill", {"job_ids": [bad]})


def test_jobs_of_one_queue_and_of_several_all_find_a_slot(wms: RunningWms) -> None:
    """Many agents that ask at once for jobs of many queues get each job once, and all of them."""
    jobs = {submit(wms, "LCG.Queues.org", f'Tags = "T{number % 5}";') for number in range(40)}
    tags, lock = [f"T{number}" for number in range(5)], threading.Lock()
    found: list[int] = []

    def take(_: int) -> None:
        if match := wms.match(Site="LCG.Queues.org", Tags=tags):
            with lock:
                found.append(match["JobID"])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(take, range(60)))
    assert sorted(found) == sorted(jobs)


def test_a_queue_that_must_wait_holds_up_no_other(wms: RunningWms) -> None:
    """However many queues of one owner have reached the limit of their type, the job behind them is found."""
    queues = TRIES + 3
    texts = [f'Executable = "a"; Site = "LCG.Many.org"; JobType = "Merge"; Tags = "T{each}";' for each in range(queues)]
    assert wms.call("POST", "/api/jobs/jdl", texts).status_code == 201
    last = submit(wms, "LCG.Many.org")
    slot = {"Site": "LCG.Many.org", "Tags": [f"T{each}" for each in range(queues)]}
    assert [(wms.match(**slot) or {}).get("JobType") for _ in range(2)] == ["Merge", "User"]
    assert wms.job(last)["Status"] == "Matched"
    assert wms.match(**slot) is None


def test_the_new_queue_of_another_server_is_found_at_once(wms: RunningWms) -> None:
    """Whoever has read the queues once looks again as soon as there is another one, whichever process made it."""
    pilot = Identity("pilot", "pilots", "local", frozenset({Role.PILOT}))
    other = Matcher(wms.context, JobTokens(wms.context))
    slot = MatchParams(PilotStamp="p", Site="LCG.New.org", Tags=["New"])
    for _ in range(2):
        assert other.match(pilot, slot) is None
        job_id = submit(wms, "LCG.New.org", 'Tags = "New";')
        assert (other.match(pilot, slot) or {})["JobID"] == job_id
        with wms.context.databases.write() as transaction:
            transaction.task_queues.remove_empty()


def test_jobs_from_before_there_were_queues_are_found(tmp_path: Path) -> None:
    """A job that waits without a queue gets one when the WMS starts."""
    with running_wms(tmp_path) as wms:
        job_id = wms.submit()
        assert wms.context.received.settle(10)
        with wms.context.databases.write() as transaction:
            transaction.jobs.change(job_id, {"TaskQueueID": None})
        assert wms.match() is None
    with running_wms(tmp_path) as wms:
        assert (wms.match() or {})["JobID"] == job_id


def test_two_servers_on_one_database_give_each_job_once(tmp_path: Path) -> None:
    """Each has connections, caches and locks of its own; the database alone decides whose a job is."""
    clock, settings = SystemClock(), ServerSettings(folder=tmp_path)
    pilot = Identity("pilot", "pilots", "local", frozenset({Role.PILOT}))
    owner = Identity("alice", "local_user", "local", frozenset({Role.USER}))
    contexts = [open_context(settings, clock) for _ in range(2)]
    jobs = JobManager(contexts[0]).submit(owner, ['Executable = "/bin/true"; Parameters = 60;'])
    ids = [each["JobID"] for each in jobs]
    OptimizationMind(contexts[1]).advance(ids)
    matchers = [Matcher(each, JobTokens(each)) for each in contexts]
    slot = MatchParams(PilotStamp="p", Site="A")
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda number: matchers[number % 2].match(pilot, slot), range(80)))
    assert sorted(each["JobID"] for each in found if each) == sorted(ids)
    for context in contexts:
        context.databases.close()
