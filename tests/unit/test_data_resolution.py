"""LFNs -> files: replicas, checksums, and what is missing."""

from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from runner.data.input_data_resolution import InputDataRequest, InputDataResult, load, resolve
from runner.data.ports import Replica
from runner.data.storage import FolderStorageElement
from runner.data.transfers import adler32_of
from runner.errors import ChecksumError, PermanentJobError, TransientJobError, UnavailableError
from tests.support.wrapper_fakes import FakeCatalog

LFN = "/lhcb/data/input.csv"


class Node:
    """Two storage elements, a catalogue, and an empty working directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.work = folder / "work"
        self.work.mkdir()
        self.elements = {name: FolderStorageElement(name, folder / name) for name in ("SE-A", "SE-B")}
        self.catalog = FakeCatalog()
        self.operations: list[tuple[str, dict[str, Any]]] = []

    def store(self, lfn: str, content: bytes, *names: str, promised: bytes | None = None) -> None:
        """Put *content* on the elements *names*, registered as if it were *promised*."""
        source = self.folder / "source"
        source.write_bytes(content)
        pfns = {name: self.elements[name].put(source, lfn) for name in names}
        source.write_bytes(content if promised is None else promised)
        size = source.stat().st_size
        self.catalog.files[lfn] = Replica(lfn=lfn, size_bytes=size, adler32=adler32_of(source), pfns=pfns)

    def resolve(self, *lfns: str, **changes: Any) -> InputDataResult:
        @contextmanager
        def observe(name: str) -> Any:
            attributes: dict[str, Any] = {}
            self.operations.append((name, attributes))
            yield attributes

        given = {"catalog": self.catalog, "storage_elements": self.elements, "folder": self.work, **changes}
        return resolve(InputDataRequest(lfns=lfns, slow=lambda work: work(), observe=observe, **given))


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


@pytest.mark.parametrize("policy", ["copy", "link"])
def test_files_arrive(node: Node, policy: str) -> None:
    """Every LFN becomes a file of its name, copied or linked, with sub-spans that know their bytes."""
    node.store(LFN, b"content", "SE-A")
    result = node.resolve(LFN, LFN, policy=policy)
    (file,) = result.files
    assert (file.lfn, file.size_bytes, file.storage_element) == (LFN, 7, "SE-A")
    assert (node.work / "input.csv").read_bytes() == b"content"
    assert (node.work / "input.csv").is_symlink() == (policy == "link")
    assert [name for name, _ in node.operations] == ["catalog_lookup", "transfer", "checksum"]
    assert node.operations[1][1]["jobspan.transfer.bytes"] == 7


def test_unknown_names_are_missing(node: Node) -> None:
    """Names that the catalogue does not know are told, and nothing is fetched."""
    node.store(LFN, b"content", "SE-A")
    result = node.resolve(LFN, "/lhcb/data/unknown")
    assert result.missing == ("/lhcb/data/unknown",)
    assert list(node.work.iterdir()) == []


def test_the_next_replica_is_tried(node: Node) -> None:
    """A replica that is gone, or damaged, is no harm while there is another one."""
    node.store(LFN, b"content", "SE-A", "SE-B")
    (node.folder / "SE-A" / LFN[1:]).write_bytes(b"damaged")
    assert node.resolve(LFN).files[0].storage_element == "SE-B"


def test_wrong_everywhere(node: Node) -> None:
    """Content that is wrong on every element is a checksum error, for good, and nothing is left of it."""
    node.store(LFN, b"content", "SE-A", "SE-B", promised=b"another")
    with pytest.raises(ChecksumError, match="adler32"):
        node.resolve(LFN)
    assert list(node.work.iterdir()) == []


def test_no_replica_now(node: Node) -> None:
    """A known file that nobody can deliver now may be there later."""
    node.store(LFN, b"content", "SE-A")
    (node.folder / "SE-A" / LFN[1:]).unlink()
    with pytest.raises(TransientJobError, match="SE-A has no file"):
        node.resolve(LFN)
    with pytest.raises(TransientJobError, match="none of which is here"):
        node.resolve(LFN, storage_elements={})


def test_errors_of_the_catalogue_are_its_own(node: Node) -> None:
    """A catalogue that does not answer is not a file that is missing."""
    node.catalog.error = UnavailableError("503")
    with pytest.raises(UnavailableError):
        node.resolve(LFN)


def test_impossible_requests(node: Node) -> None:
    """Names that are no LFNs, or that would be one file here, can never be resolved."""
    with pytest.raises(PermanentJobError, match="not a logical file name"):
        node.resolve("../etc/passwd")
    with pytest.raises(PermanentJobError, match="one file"):
        node.resolve("/a/b/x", "/a/c/x")


def test_modules_are_found_by_name() -> None:
    """Ours has DIRAC's name, with or without its path; an unknown one is refused with the known ones."""
    assert load("InputDataResolution") is load("DIRAC.WorkloadManagementSystem.Client.InputDataResolution") is resolve
    with pytest.raises(PermanentJobError, match="known are InputDataResolution"):
        load("DownloadFromTheMoon")
