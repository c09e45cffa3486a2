"""FileCatalog: lookups and registrations."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.wms import RunningWms, running_wms

FILE = {"Catalog": "FileCatalog", "LFN": "/local/a", "Size": 3, "Adler32": "24D0127", "SE": "SE-USER", "PFN": "a/b"}


@pytest.fixture(scope="module")
def wms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWms]:
    """One WMS with two catalogues and two storage elements for the module."""
    overrides = {"WMS": {"Catalogs": ["FileCatalog", "Second"], "StorageElements": ["SE-USER", "SE-TWO"]}}
    with running_wms(tmp_path_factory.mktemp("wms"), overrides=overrides) as running:
        yield running


def register(wms: RunningWms, **changes: Any) -> int:
    return wms.call("POST", "/api/jobspan/catalog/register", {**FILE, **changes}).status_code


def lookup(wms: RunningWms, *lfns: str, **more: Any) -> Any:
    return wms.call("POST", "/api/jobspan/catalog/lookup", {"LFNs": lfns, **more}).json()


def test_a_file_is_registered_once(wms: RunningWms) -> None:
    """New is 201, the same again 200, other content or another place at the same element 409."""
    codes = [register(wms), register(wms), register(wms, Size=4), register(wms, Adler32="1"), register(wms, PFN="c")]
    assert codes == [201, 200, 409, 409, 409]
    assert register(wms, SE="SE-TWO", PFN="x") == 201
    assert lookup(wms, "/local/a", "/local/none", "/local/a") == {
        "Files": {
            "/local/a": {"Size": 3, "Adler32": "024d0127", "Replicas": {"SE-TWO": "x", "SE-USER": "a/b"}},
        },
        "Missing": ["/local/none"],
    }


def test_catalogues_are_apart(wms: RunningWms) -> None:
    """A file of the second catalogue is not in the master, which answers unless another is named."""
    assert register(wms, Catalog="Second", LFN="/local/second") == 201
    assert lookup(wms, "/local/second")["Missing"] == ["/local/second"]
    assert lookup(wms, "/local/second", Catalog="Second")["Missing"] == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"Catalog": "None"}, 400),
        ({"SE": "SE-MARS"}, 400),
        ({"LFN": "relative"}, 422),
        ({"LFN": "/a\nb"}, 422),
        ({"Size": -1}, 422),
        ({"Adler32": "xyz"}, 422),
        ({"PFN": ""}, 422),
    ],
)
def test_impossible_registrations_are_refused(wms: RunningWms, changes: dict[str, Any], code: int) -> None:
    """What does not exist is 400, what has not its form 422."""
    assert register(wms, **changes) == code
