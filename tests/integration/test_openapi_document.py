"""The OpenAPI document: there, of this version, sound, and it knows every route."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

import runner
from tests.support.wms import RunningWms, running_wms

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
    info = document["info"]
    assert (info["title"], info["version"]) == ("jobspan WMS", runner.__version__)


def test_operations_have_names_of_their_own(document: dict[str, Any]) -> None:
    """Generated clients call operations by their names: each has one, and no two share one."""
    found = Counter(each["operationId"] for _, _, each in operations(document))
    # DiracX's own names of /.well-known begin with a dot, which generators leave out.
    assert [
        name for name, count in found.items() if count > 1 or not name.lstrip(".").replace("-", "_").isidentifier()
    ] == []
    assert {("get", "/healthz"), ("get", "/readyz"), ("post", "/api/jobs/jdl")} <= {
        (method, path) for method, path, _ in operations(document)
    }


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
