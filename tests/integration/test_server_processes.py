"""Several processes of one WMS on one database server: they share the work, and do nothing twice."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
import requests

from tests.support.databases import DatabaseServers
from tests.support.twins import ServerProcess, twins
from tests.support.waiting import eventually

JOBS = 40
PILOTS = 8
DEADLINE_SECONDS = 90.0


@pytest.fixture(scope="module", params=["mariadb", "postgresql"])
def servers(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, database_servers: DatabaseServers
) -> Iterator[list[ServerProcess]]:
    """Two processes, and the session of everybody who talks to them."""
    options = "StalledTime = 2.0\nFailedTime = 1000.0\n"
    with twins(tmp_path_factory.mktemp("twins"), database_servers.fresh(request.param), options=options) as both:
        yield both


def call(server: ServerProcess, method: str, path: str, body: Any, role: str = "user") -> Any:
    with requests.Session() as session:
        session.trust_env = False
        headers = {"Authorization": f"Bearer {server.token(role)}"}
        answer = session.request(method, server.url + path, json=body, headers=headers, timeout=DEADLINE_SECONDS)
    assert answer.status_code < 300, answer.text
    return answer.json()


def submit(server: ServerProcess, count: int) -> set[int]:
    """Submit *count* jobs, which the optimizers of that process bring to Waiting."""
    rows = call(server, "POST", "/api/jobs/jdl", ['Executable = "/bin/true";'] * count)
    jobs = {row["JobID"] for row in rows}
    wanted = {
        "parameters": ["JobID"],
        "search": [
            {"parameter": "JobID", "operator": "in", "values": sorted(jobs)},
            {"parameter": "Status", "operator": "eq", "value": "Waiting"},
        ],
    }
    eventually(
        lambda: len(call(server, "POST", "/api/jobs/search?per_page=1000", wanted)) == count,
        DEADLINE_SECONDS,
        "the optimizers",
    )
    return jobs


def match(server: ServerProcess, stamp: str) -> dict[str, Any] | None:
    body = {"PilotStamp": stamp, "Site": "LCG.Twin.org", "WaitSeconds": 0}
    found: dict[str, Any] | None = call(server, "POST", "/api/jobspan/match", body, "pilot")["Job"]
    return found


def test_no_job_is_given_away_twice(servers: list[ServerProcess]) -> None:
    """Pilots that ask both processes at once get every job, each once, until there is none."""
    jobs = submit(servers[0], JOBS // 2) | submit(servers[1], JOBS // 2)

    def take_all(number: int) -> list[int]:
        taken = []
        while (found := match(servers[number % 2], f"pilot-{number}")) is not None:
            taken.append(found["JobID"])
        return taken

    with ThreadPoolExecutor(PILOTS) as pool:
        given = Counter(job for each in pool.map(take_all, range(PILOTS)) for job in each)
    # A pilot may have asked in the moment in which others held all that was left.
    given.update(take_all(0))
    assert set(given) == jobs
    assert set(given.values()) == {1}


def test_what_one_does_the_other_knows(servers: list[ServerProcess]) -> None:
    """A call that waits at one process hears of a job, and of a kill, that came to the other."""
    first, second = servers
    with ThreadPoolExecutor(1) as pool:
        body = {"PilotStamp": "p", "Site": "LCG.Twin.org", "WaitSeconds": 30}
        waiting = pool.submit(call, first, "POST", "/api/jobspan/match", body, "pilot")
        (job,) = {row["JobID"] for row in call(second, "POST", "/api/jobs/jdl", ['Executable = "/bin/true";'])}
        found = waiting.result(DEADLINE_SECONDS)["Job"]
        assert found["JobID"] == job
        body = {"PilotStamp": "p", "Jobs": [{"JobID": job, "Attempt": 1}], "WaitSeconds": 30}
        waiting = pool.submit(call, first, "POST", "/api/jobspan/commands", body, "pilot")
        call(second, "PATCH", "/api/jobs/status", {job: {datetime.now(UTC).isoformat(): {"Status": "Killed"}}})
        assert [each["Command"] for each in waiting.result(DEADLINE_SECONDS)["Commands"]] == ["Kill"]


def test_one_of_them_looks_for_stalled_jobs(servers: list[ServerProcess]) -> None:
    """Both look now and then, one has the lease: a job that is silent becomes Stalled once."""
    (job,) = submit(servers[0], 1)
    assert match(servers[1], "silent") is not None
    call(servers[0], "PATCH", "/api/jobs/status", {job: {datetime.now(UTC).isoformat(): {"Status": "Running"}}})
    wanted = {
        "parameters": ["JobID", "Status", "LoggingInfo"],
        "search": [{"parameter": "JobID", "operator": "eq", "value": job}],
    }

    def looked() -> list[str]:
        (row,) = call(servers[1], "POST", "/api/jobs/search", wanted)
        return [each["Status"] for each in row["LoggingInfo"] if each["Source"] == "StalledJobAgent"]

    assert eventually(looked, DEADLINE_SECONDS, "a job that is Stalled") == ["Stalled"]
    assert looked() == ["Stalled"]
