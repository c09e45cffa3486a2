"""Where metrics are: what pilots register and what GET /sd lists, on every kind of database."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from runner.server.models import TargetParams
from runner.server.services import targets
from runner.server.services.job_cleaning_agent import JobCleaningAgent
from runner.server.services.targets import Targets
from runner.server.tokens import Identity, Role
from tests.support.clock import JumpClock
from tests.support.wms import RunningWms, running_wms

AGENT = {"Port": 9411, "Role": "agent", "PilotStamp": "0123456789abcdef", "Site": "LCG.Test.org"}
PILOT = Identity("pilot", "local_pilot", "local", frozenset({Role.PILOT}))
LIFE_SECONDS = 100.0


@pytest.fixture
def clock() -> JumpClock:
    """The clock of the WMS, which tests set."""
    return JumpClock()


@pytest.fixture
def wms(tmp_path: Path, clock: JumpClock) -> Iterator[RunningWms]:
    """A WMS that remembers a target for LIFE_SECONDS."""
    with running_wms(tmp_path, clock=clock, overrides={"WMS": {"TargetTime": LIFE_SECONDS}}) as running:
        yield running


def register(wms: RunningWms, **changes: Any) -> requests.Response:
    """Say that there are metrics, as a pilot."""
    return wms.call("POST", "/api/jobspan/targets", {**AGENT, **changes}, token=wms.pilot_token)


def listed(wms: RunningWms) -> list[dict[str, Any]]:
    """What Prometheus is told, with the token that the WMS has written for it."""
    answer = wms.call("GET", "/sd", token=(wms.folder / "tokens" / "monitor.token").read_text().strip())
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    found: list[dict[str, Any]] = answer.json()
    return found


def test_what_a_pilot_registers_is_listed(wms: RunningWms) -> None:
    """The host is the caller's address; pilot and job are there for relabelling only, not as labels of every series."""
    assert register(wms).json() == {"Seconds": LIFE_SECONDS}
    register(wms, Port=9412, Role="wrapper", JobID=7, Site="")
    assert listed(wms) == [
        {
            "targets": ["127.0.0.1:9411"],
            "labels": {
                "__metrics_path__": "/metrics",
                "__meta_jobspan_pilot_stamp": "0123456789abcdef",
                "role": "agent",
                "site": "LCG.Test.org",
            },
        },
        {
            "targets": ["127.0.0.1:9412"],
            "labels": {
                "__metrics_path__": "/metrics",
                "__meta_jobspan_pilot_stamp": "0123456789abcdef",
                "__meta_jobspan_job_id": "7",
                "role": "wrapper",
            },
        },
    ]


def test_what_is_not_said_again_is_forgotten(wms: RunningWms, clock: JumpClock) -> None:
    """A target leaves the list when its time is over, and the table at the next cleaning; saying it again renews it."""
    register(wms)
    register(wms, Port=9412)
    clock.advance(LIFE_SECONDS - 1)
    register(wms, Port=9412)
    assert len(listed(wms)) == 2
    clock.advance(2)
    assert [each["targets"] for each in listed(wms)] == [["127.0.0.1:9412"]]
    JobCleaningAgent(wms.context).look()
    with wms.context.databases.write() as transaction:
        assert transaction.targets.forget(0) == 0
        assert [row["Port"] for row in transaction.targets.listed("local", 0)] == [9412]


def test_what_is_taken_back_is_gone(wms: RunningWms) -> None:
    """An agent that ends in order is not scraped in vain; taking back what is not there is no error."""
    register(wms)
    for _ in range(2):
        answer = wms.call("POST", "/api/jobspan/targets/remove", {"Port": 9411}, token=wms.pilot_token)
        assert answer.status_code == 204
    assert listed(wms) == []


def test_the_list_survives_the_wms(tmp_path: Path, fresh_database: str) -> None:
    """After a restart Prometheus still finds all, on every kind of database; the same port is one target."""
    with running_wms(tmp_path, database=fresh_database) as wms:
        register(wms)
        register(wms, Site="LCG.Other.org")
        assert len(listed(wms)) == 1
    with running_wms(tmp_path, database=fresh_database) as wms:
        assert [each["labels"]["site"] for each in listed(wms)] == ["LCG.Other.org"]


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded"])
def test_no_header_says_where_a_caller_is(wms: RunningWms, header: str) -> None:
    """Whoever names another host is refused in words: Prometheus must not be sent where a pilot wants it."""
    answer = wms.call("POST", "/api/jobspan/targets", AGENT, token=wms.pilot_token, headers={header: "192.0.2.1"})
    assert (answer.status_code, "proxy" in answer.text) == (400, True)
    assert listed(wms) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"Port": 22},
        {"Port": 65536},
        {"Port": "9411; x"},
        {"Path": "metrics"},
        {"Path": "//192.0.2.1/metrics"},
        {"Path": "/../secret"},
        {"Path": "/metrics?x=1"},
        {"Path": "/" + "x" * 64},
        {"Role": "wms"},
        {"PilotStamp": ""},
        {"PilotStamp": 'x" y'},
        {"Site": "a\nb"},
        {"Host": "192.0.2.1"},
        {"JobID": -1},
    ],
)
def test_a_target_is_what_it_should_be_or_refused(wms: RunningWms, changes: dict[str, Any]) -> None:
    """Ports of other services, addresses instead of paths, labels of one's own: all refused, nothing listed."""
    assert register(wms, **changes).status_code == 422
    assert listed(wms) == []


def test_only_pilots_say_and_only_monitors_read(wms: RunningWms) -> None:
    """Neither a user nor the job itself may send Prometheus somewhere; and not everybody sees where it looks."""
    for token in (None, wms.user_token, wms.admin_token):
        answer = wms.call("POST", "/api/jobspan/targets", AGENT, token=token)
        assert answer.status_code == (403 if token else 401)
    for token in (None, wms.user_token, wms.pilot_token):
        assert wms.call("GET", "/sd", token=token).status_code == (403 if token else 401)
    assert wms.call("GET", "/sd", token=wms.admin_token).json() == []


def test_one_host_cannot_fill_the_list(wms: RunningWms, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond so many ports a host is told to wait; what it has is renewed all the same, and other hosts are free."""
    monkeypatch.setattr(targets, "MOST_A_HOST", 2)
    register(wms)
    register(wms, Port=9412)
    assert register(wms, Port=9413).status_code == 429
    assert register(wms, Port=9412).status_code == 200
    Targets(wms.context).register(PILOT, TargetParams(**AGENT), "192.0.2.7")  # type: ignore[arg-type]
    assert len(listed(wms)) == 3


def test_addresses_of_every_form(wms: RunningWms) -> None:
    """IPv6 is in brackets, an IPv4 address in IPv6's clothes is one of IPv4, a zone is left out."""
    service = Targets(wms.context)
    for peer in ("2001:db8::1", "::ffff:192.0.2.1", "fe80::1%eth0"):
        service.register(PILOT, TargetParams(**AGENT), peer)  # type: ignore[arg-type]
    assert sorted(each["targets"][0] for each in listed(wms)) == [
        "192.0.2.1:9411",
        "[2001:db8::1]:9411",
        "[fe80::1]:9411",
    ]
