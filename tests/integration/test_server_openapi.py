"""The OpenAPI document: what programs that are made from it need to be right."""

from collections.abc import Iterator
from typing import Any

import pytest

from runner.server.openapi import DIALECT
from tests.support.wms import RunningWms, running_wms

#: Routes of logins, of presigned addresses, and what one must know first: nobody has a token there yet.
OPEN = ("/healthz", "/readyz", "/.well-known/", "/api/auth/", "/api/jobspan/info", "/api/jobspan/sandboxes")


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The document, as it is served."""
    with running_wms(tmp_path_factory.mktemp("wms")) as wms:
        yield served(wms)


def served(wms: RunningWms) -> Any:
    answer = wms.call("GET", "/api/openapi.json", token=None)
    assert answer.status_code == 200
    return answer.json()


def operations(document: Any) -> dict[str, Any]:
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def test_names_are_unique_and_speak(document: Any) -> None:
    """Each operation has a name of its own: subject and function, DiracX's where DiracX has it."""
    names = {key: operation["operationId"] for key, operation in operations(document).items()}
    assert len(set(names.values())) == len(names)
    assert all(len(name) < 60 and "__" not in name for name in names.values())
    assert names["GET /.well-known/jwks.json"] == ".well-known_get_jwks"
    assert names["POST /api/auth/token"] == "auth_get_oidc_token"
    assert {key: names.get(key) for key in DIALECT} == {key: value[0] for key, value in DIALECT.items()}


def test_answers_of_the_dialect_are_described(document: Any) -> None:
    """Status and model of each answer are there, and every reference leads somewhere."""
    found = operations(document)
    for key, (_, status, model) in DIALECT.items():
        response = found[key]["responses"][str(status)]
        assert ("content" in response) == (model is not None), key
    schemas = document["components"]["schemas"]
    assert references(document) <= {f"#/components/schemas/{name}" for name in schemas}
    assert set(schemas["TokenResponse"]["required"]) == {"access_token", "expires_in"}


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*(references(each) for each in value.values()))
    return set().union(*(references(each) for each in value)) if isinstance(value, list) else set()


def test_who_needs_a_token_is_said(document: Any) -> None:
    """Every route but those of logins asks for the scheme OpenIdConnect, and says 401 and 403."""
    for key, operation in operations(document).items():
        is_open = key.partition(" ")[2].startswith(OPEN) and not key.endswith(("userinfo", "tokens", "{jti}"))
        assert ("security" in operation) != is_open, key
        assert ("401" in operation["responses"]) != is_open, key
    assert document["components"]["securitySchemes"]["OpenIdConnect"]["type"] == "openIdConnect"
