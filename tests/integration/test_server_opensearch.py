"""Job parameters in OpenSearch: on a real server, and on a stand-in that records the original's conversation.

What the store promises holds on both. The stand-in (see tests/support/opensearch.py) shows what is said, and fails
when it is told to.
"""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from runner.errors import ConfigError
from runner.server.db.opensearch_job_parameters import INDEX, OpenSearchJobParameters
from runner.server.errors import DatabaseAwayError
from runner.server.services.job_cleaning_agent import Cleaned, JobCleaningAgent
from tests.support.clock import JumpClock
from tests.support.opensearch import OpenSearchStandIn, opensearch_stand_in
from tests.support.stores import SearchServer
from tests.support.wms import running_wms

NOON_NS = 1_795_262_400_000_000_000  # 2026-11-21T12:00:00Z
DAY_NS = 86_400_000_000_000


@pytest.fixture
def stand_in() -> Iterator[OpenSearchStandIn]:
    """A stand-in of the test's own."""
    with opensearch_stand_in() as running:
        yield running


@pytest.fixture
def server(opensearch: SearchServer) -> Iterator[str]:
    """A real server without any parameters."""
    yield opensearch.url
    assert requests.delete(f"{opensearch.url}/{INDEX}-*", timeout=30).status_code == 200


@pytest.fixture(params=["stand-in", "opensearch"])
def url(request: pytest.FixtureRequest) -> str:
    """The stand-in, and the real server."""
    if request.param == "opensearch":
        return str(request.getfixturevalue("server"))
    return str(request.getfixturevalue("stand_in").url)


@pytest.fixture
def store(url: str) -> Iterator[OpenSearchJobParameters]:
    """The parameters that one keeps."""
    opened = OpenSearchJobParameters(url)
    yield opened
    opened.close()


@pytest.fixture
def observed(stand_in: OpenSearchStandIn) -> Iterator[OpenSearchJobParameters]:
    """The parameters that the stand-in keeps."""
    opened = OpenSearchJobParameters(stand_in.url)
    yield opened
    opened.close()


def test_the_conversation_is_the_originals(stand_in: OpenSearchStandIn, observed: OpenSearchJobParameters) -> None:
    """A template, then update-by-query over all days and, where nothing is updated, create in the index of the day."""
    observed.set_job_parameter(7, "HostName", "wn1", NOON_NS)
    observed.set_job_parameter(7, "HostName", "wn2", NOON_NS + DAY_NS)
    assert observed.get_job_parameters(7, ["HostName"]) == {"HostName": "wn2"}
    paths = [(method, path.rpartition("/")[0] if "_create" in path else path) for method, path, _, _ in stand_in.said]
    update, create = ("POST", f"/{INDEX}-*/_update_by_query"), ("PUT", f"/{INDEX}-2026.11.21/_create")
    assert paths == [("PUT", f"/_index_template/{INDEX}"), update, create, update, ("POST", f"/{INDEX}-*/_search")]
    _, _, options, body = stand_in.said[1]
    assert options == {"refresh": "true", "conflicts": "proceed", "ignore_unavailable": "true"}
    assert body["query"] == {"bool": {"filter": [{"term": {"JobID": 7}}, {"term": {"Name": "HostName"}}]}}
    assert body["script"]["params"] == {"Value": '"wn1"', "timestamp": NOON_NS}
    assert [index for index, _ in stand_in.documents] == [f"{INDEX}-2026.11.21"]


def test_values_of_any_kind_come_back(store: OpenSearchJobParameters) -> None:
    """Texts, numbers and structures are what they were, each with its time, of one job or of some names only."""
    values = {"A": "x" * 100_000, "B": 1.5, "C": [1, {"d": None}], "D": "\U0001f600"}
    store.set_job_parameters(1, values, NOON_NS)
    store.set_job_parameters(2, {"A": "other"}, NOON_NS)
    assert store.get_job_parameters(1) == values
    assert store.get_job_parameters(1, ["B", "none"]) == {"B": 1.5}
    assert store.with_times(2) == {"A": ("other", NOON_NS)}
    assert store.get_job_parameters(3) == {}


def test_a_change_of_another_day_leaves_one_document(server: str) -> None:
    """What was created on one day is updated where it is, with its new time; what is new goes to the new day."""
    store = OpenSearchJobParameters(server)
    store.set_job_parameter(7, "A", "first", NOON_NS)
    store.set_job_parameter(7, "A", "second", NOON_NS + DAY_NS)
    store.set_job_parameter(7, "B", "new", NOON_NS + DAY_NS)
    assert store.with_times(7) == {"A": ("second", NOON_NS + DAY_NS), "B": ("new", NOON_NS + DAY_NS)}
    store.close()
    hits = requests.get(f"{server}/{INDEX}-*/_search", timeout=30).json()["hits"]["hits"]
    found = sorted((hit["_index"], hit["_source"]["Name"]) for hit in hits)
    assert found == [(f"{INDEX}-2026.11.21", "A"), (f"{INDEX}-2026.11.22", "B")]
    mapping = requests.get(f"{server}/{INDEX}-2026.11.21/_mapping", timeout=30).json()
    properties = mapping[f"{INDEX}-2026.11.21"]["mappings"]["properties"]
    assert {name: each["type"] for name, each in properties.items()} == {
        "JobID": "long", "Name": "keyword", "Value": "keyword", "timestamp": "long",
    }  # fmt: skip


def test_many_who_set_one_parameter_at_once_leave_one_document(server: str) -> None:
    """Of a parameter that does not exist yet there is one afterwards, with a value of one of them; nobody fails."""
    store = OpenSearchJobParameters(server)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: store.set_job_parameter(1, "A", number, NOON_NS), range(16)))
    assert store.get_job_parameters(1)["A"] in range(16)
    store.close()
    assert requests.get(f"{server}/{INDEX}-*/_count", timeout=30).json()["count"] == 1


def test_two_who_create_at_once_make_one(stand_in: OpenSearchStandIn, observed: OpenSearchJobParameters) -> None:
    """Whoever finds that another has created the parameter meanwhile updates it."""
    store = observed
    store.set_job_parameter(1, "A", "first", NOON_NS)
    (document,) = stand_in.documents.values()
    hidden = dict(document)
    document["JobID"] = 999  # as an index that is not refreshed yet hides it from the update
    with pytest.raises(DatabaseAwayError, match="again and again"):
        store.set_job_parameter(1, "A", "second", NOON_NS)
    document |= hidden
    store.set_job_parameter(1, "A", "second", NOON_NS)
    assert (len(stand_in.documents), store.get_job_parameters(1)) == (1, {"A": "second"})


@pytest.mark.parametrize("early", [1, 3])
def test_an_index_that_is_only_being_made_is_waited_for(
    observed: OpenSearchJobParameters, stand_in: OpenSearchStandIn, early: int
) -> None:
    """A call that comes too early asks for the index, is told how long to wait, and is made again until it is there."""
    stand_in.not_ready = early
    observed.set_job_parameter(1, "A", "value", NOON_NS)
    assert observed.get_job_parameters(1) == {"A": "value"}
    waited = [options for _, path, options, _ in stand_in.said if path.startswith("/_cluster/health")]
    assert waited == early * [{"wait_for_status": "yellow", "timeout": "5s"}]


def test_an_index_that_never_becomes_ready_is_told(
    observed: OpenSearchJobParameters, stand_in: OpenSearchStandIn
) -> None:
    """The number of repetitions has a limit; then the caller hears that the server fails."""
    stand_in.not_ready = 1_000
    with pytest.raises(DatabaseAwayError, match="503"):
        observed.set_job_parameter(1, "A", "value", NOON_NS)
    assert stand_in.not_ready == 1_000 - 6


def test_the_wms_keeps_its_parameters_there(tmp_path: Path, stand_in: OpenSearchStandIn) -> None:
    """What jobs say goes to the server when the transaction is through; while it fails calls are told to come again."""
    with running_wms(tmp_path, overrides={"WMS": {"ParametersURL": stand_in.url}}) as wms:
        job_id = wms.submit()
        body = {str(job_id): {"HostName": "wn1", "PayloadPID": 7}}
        assert wms.call("PATCH", "/api/jobs/metadata", body).status_code == 204
        assert wms.call("PATCH", "/api/jobs/heartbeat", {str(job_id): {"StandardOutput": "hi\n"}}).status_code == 200
        shown = wms.call("GET", f"/api/jobspan/jobs/{job_id}/parameters").json()
        assert (shown["HostName"], shown["PayloadPID"]) == ("wn1", 7)
        assert wms.call("GET", f"/api/jobspan/jobs/{job_id}/peek").json()["StandardOutput"] == "hi\n"
        stand_in.failure = 500
        refused = wms.call("PATCH", "/api/jobs/metadata", body)
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
        stand_in.failure = 0
        assert wms.call("PATCH", "/api/jobs/metadata", body).status_code == 204
        names = {document["Name"] for document in stand_in.documents.values()}
        assert names == {"HostName", "PayloadPID", "StandardOutput"}


def test_a_wms_with_a_real_server(tmp_path: Path, server: str) -> None:
    """Parameters of jobs, and the output that is peeked at, go there and come back."""
    with running_wms(tmp_path, overrides={"WMS": {"ParametersURL": server}}) as wms:
        job_id = wms.submit()
        body = {str(job_id): {"HostName": "wn1", "PayloadPID": 7}}
        assert wms.call("PATCH", "/api/jobs/metadata", body).status_code == 204
        assert wms.call("PATCH", "/api/jobs/heartbeat", {str(job_id): {"StandardOutput": "hi\n"}}).status_code == 200
        shown = wms.call("GET", f"/api/jobspan/jobs/{job_id}/parameters").json()
        assert (shown["HostName"], shown["PayloadPID"]) == ("wn1", 7)
        assert wms.call("GET", f"/api/jobspan/jobs/{job_id}/peek").json()["StandardOutput"] == "hi\n"


def test_a_server_that_is_not_there_is_said_at_the_start(
    stand_in: OpenSearchStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A WMS does not start without its parameters' server, nor without the extra that reaches it."""
    stand_in.failure = 503
    with pytest.raises(ConfigError, match="ParametersURL"):
        OpenSearchJobParameters(stand_in.url)
    monkeypatch.setitem(sys.modules, "opensearchpy", None)
    with pytest.raises(ConfigError, match=r"pip install 'jobspan\[opensearch\]'"):
        OpenSearchJobParameters(stand_in.url)


def test_the_parameters_of_a_job_are_forgotten(store: OpenSearchJobParameters) -> None:
    """Those of all days, and of no other job; a job without any may be forgotten too."""
    for job_id in (1, 2):
        store.set_job_parameter(job_id, "A", "first day", NOON_NS)
        store.set_job_parameter(job_id, "B", "second day", NOON_NS + DAY_NS)
    store.forget(1)
    store.forget(3)
    assert [set(store.get_job_parameters(job_id)) for job_id in (1, 2)] == [set(), {"A", "B"}]


@pytest.mark.parametrize("by", ["call", "age"])
def test_a_job_that_is_removed_leaves_no_parameters_there(
    tmp_path: Path, stand_in: OpenSearchStandIn, by: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither parameters nor peek, whoever removes it; where the server is away then, the log names the job."""
    clock, options = JumpClock(), {"ParametersURL": stand_in.url, "JobRetention": 3600}
    with running_wms(tmp_path, clock=clock, overrides={"WMS": options}) as wms:
        job_ids = [wms.submit(), wms.submit()]
        for job_id in job_ids:
            wms.call("PATCH", "/api/jobs/metadata", {str(job_id): {"HostName": "wn1"}})
            wms.call("PATCH", "/api/jobs/heartbeat", {str(job_id): {"StandardOutput": "hi\n"}})

        def remove(job_id: int) -> None:
            assert wms.call("POST", "/api/jobspan/jobs/delete", {"job_ids": [job_id]}).json()["success"]
            if by == "call":
                assert wms.call("POST", "/api/jobspan/jobs/remove", {"job_ids": [job_id]}).json()["success"]
            else:
                clock.advance(3601)
                assert (JobCleaningAgent(wms.context).look() or Cleaned()).jobs == 1

        remove(job_ids[0])
        assert {document["JobID"] for document in stand_in.documents.values()} == {job_ids[1]}
        stand_in.failure = 500
        remove(job_ids[1])
        assert f"the parameters of job {job_ids[1]}, which has been removed, are still there" in caplog.text
