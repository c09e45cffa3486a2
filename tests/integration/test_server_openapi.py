"""The OpenAPI document: there, sound, of this version, and its operations keep their names."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import runner
from tests.support.wms import RunningWms, running_wms

#: What generated clients call: name, method, path. A name that changes breaks them; new ones may come.
OPERATIONS = """
jobs_submit             POST   /api/jobs/jdl
jobs_search             POST   /api/jobs/search
jobs_summary            POST   /api/jobs/summary
jobs_set_status         PATCH  /api/jobs/status
jobs_heartbeat          PATCH  /api/jobs/heartbeat
jobs_set_metadata       PATCH  /api/jobs/metadata
jobs_reschedule         POST   /api/jobs/reschedule
sandboxes_initiate_upload    POST   /api/jobs/sandbox
sandboxes_initiate_download  GET    /api/jobs/sandbox
sandboxes_sandboxes_of  GET    /api/jobs/{job_id}/sandbox
sandboxes_assign_output PATCH  /api/jobs/{job_id}/sandbox/output
pilots_register         POST   /api/pilots/
pilots_change           PATCH  /api/pilots/metadata
about_info              GET    /api/jobspan/info
about_userinfo          GET    /api/auth/userinfo
matching_match          POST   /api/jobspan/match
matching_commands       POST   /api/jobspan/commands
matching_report         POST   /api/jobspan/jobs/{job_id}/report
accounting_insert       POST   /api/jobspan/accounting
accounting_records      GET    /api/jobspan/accounting
catalog_lookup          POST   /api/jobspan/catalog/lookup
requests_put            POST   /api/jobspan/requests
requests_claim          POST   /api/jobspan/requests/claim
health_live             GET    /healthz
health_ready            GET    /readyz
"""
METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """As a WMS serves it, without a token."""
    with running_wms(tmp_path_factory.mktemp("wms")) as wms:
        yield fetched(wms)


def fetched(wms: RunningWms) -> dict[str, Any]:
    answer = wms.call("GET", "/api/openapi.json", token=None)
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method, path, operation


def references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for each in value.values():
            yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


def test_it_has_the_version_of_the_server(document: dict[str, Any]) -> None:
    """OpenAPI 3.1, and in info.version the version of jobspan that answers."""
    assert document["openapi"].startswith("3.1.")
    assert document["info"] == {"title": "jobspan WMS", "version": runner.__version__}


def test_operations_keep_their_names(document: dict[str, Any]) -> None:
    """Every operation that clients may know is there under its name; no two share one."""
    there = {(each["operationId"], method.upper(), path) for method, path, each in operations(document)}
    known = {tuple(line.split()) for line in OPERATIONS.strip().splitlines()}
    assert known - there == set()
    assert [name for name, count in Counter(name for name, _, _ in there).items() if count > 1] == []
    assert [name for name, _, _ in there if not re.fullmatch(r"[a-z]+(_[a-z]+)+", name)] == []


def test_it_is_sound(document: dict[str, Any]) -> None:
    """Every operation has a summary and answers, path parameters are declared, references lead somewhere."""
    wrong = []
    for method, path, operation in operations(document):
        declared = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "path"}
        good = (
            method in METHODS,
            path.startswith("/"),
            bool(operation["summary"]),
            bool(operation["responses"]),
            all(each["required"] for each in operation.get("parameters", ()) if each["in"] == "path"),
            declared == set(re.findall(r"{(\w+)}", path)),
        )
        if not all(good):
            wrong.append((method, path, good))
    assert wrong == []
    for reference in set(references(document)):
        place: Any = document
        assert reference.startswith("#/")
        for part in reference.removeprefix("#/").split("/"):
            place = place[part.replace("~1", "/").replace("~0", "~")]
        assert isinstance(place, dict)


def test_it_says_who_needs_a_token(tmp_path: Path) -> None:
    """An operation takes the bearer token exactly if the server refuses (401) whoever shows none."""
    with running_wms(tmp_path) as wms:
        document = fetched(wms)
        schemes = document["components"]["securitySchemes"]
        assert schemes == {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}
        for method, path, operation in operations(document):
            target = re.sub(r"{sandbox_type}", "input", path)
            answer = wms.call(method.upper(), re.sub(r"{\w+}", "1", target), token=None)
            needs = operation["security"] == [{"bearer": []}]
            assert needs == (answer.status_code == 401), (method, path, answer.text)
