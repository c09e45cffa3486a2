"""What an archive may take of a disk: a file system of its own, mounted for the test."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.data.archives import opener, pack, unpack
from runner.errors import TransientJobError

MIB = 1 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 200 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m", "jobspan-test", folder], check=True)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.root
@pytest.mark.parametrize(("mebibytes", "is_taken"), [(185, True), (195, False)])
def test_the_last_of_a_disk_is_left_to_others(tmp_path: Path, disk: Path, mebibytes: int, is_taken: bool) -> None:
    """What would leave less than a twentieth of the disk is refused before it is written; it may go elsewhere."""
    source, archive = tmp_path / "source", tmp_path / "archive.tar.zst"
    source.mkdir()
    with (source / "zeros").open("wb") as file:
        file.truncate(mebibytes * MIB)
    pack([("zeros", opener(source, "zeros"))], archive)
    work, staging = disk / "work", disk / "staging"
    work.mkdir()
    staging.mkdir()
    if is_taken:
        assert unpack(archive, work, staging=staging).bytes == mebibytes * MIB
        return
    with pytest.raises(TransientJobError, match="a twentieth of the disk is left free") as refused:
        unpack(archive, work, staging=staging)
    assert refused.value.error_type == "disk_full"
    assert not [*work.iterdir(), *staging.iterdir()]
