"""Unpacking sandboxes by our own rules, and packing them."""

import os
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest
import zstandard

from runner.data.archives import LIMITS, ArchiveLimits, opener, pack, packed_size, unpack
from runner.errors import HostileArchiveError, PermanentJobError
from tests.support.tars import COMPRESSORS, entry, snapshot, tar, write


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Where the archive lies, the target, and the staging folder."""
    for name in ("target", "staging"):
        (tmp_path / name).mkdir()
    return tmp_path / "archive", tmp_path / "target", tmp_path / "staging"


def refuse(folders: tuple[Path, Path, Path], data: bytes, limits: ArchiveLimits = LIMITS) -> str:
    """Unpack *data*, which must be refused with nothing changed anywhere; the message."""
    archive, target, staging = folders
    write(archive, data)
    (target / "mine").write_text("before")
    before = snapshot(archive.parent)
    with pytest.raises(HostileArchiveError) as raised:
        unpack(archive, target, staging=staging, limits=limits)
    assert snapshot(archive.parent) == before
    return str(raised.value)


@pytest.mark.parametrize("format", COMPRESSORS)
def test_good_archives_are_unpacked(folders: tuple[Path, Path, Path], format: str) -> None:
    """Files and folders of tar.gz, tar.bz2 and tar.zst come out with content, and are counted."""
    archive, target, staging = folders
    script = entry("a/b/run.sh", b"#!/bin/sh\n", mode=0o755)
    data = tar(
        entry("./", kind=tarfile.DIRTYPE), entry("a", kind=tarfile.DIRTYPE), script, entry("data", b"x" * 70_000)
    )
    unpacked = unpack(write(archive, data, format), target, staging=staging)
    assert (unpacked.files, unpacked.bytes) == (2, 70_010)
    assert (target / "a/b/run.sh").read_bytes() == b"#!/bin/sh\n"
    assert os.access(target / "a/b/run.sh", os.X_OK)
    assert list(staging.iterdir()) == []


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_all_dialects_of_tar_are_read(folders: tuple[Path, Path, Path], format: int) -> None:
    """Long names arrive whole in ustar, GNU and pax archives."""
    archive, target, staging = folders
    name = "/".join(["folder" * 8] * 3) + "/" + "name" * 12
    unpack(write(archive, tar(entry(name, b"content"), entry("next", b"1"), format=format)), target, staging=staging)
    assert (target / name).read_bytes() == b"content"
    assert (target / "next").read_bytes() == b"1"


def test_what_tar_itself_writes_is_read(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """An archive of the machine's own tar program, folder included, comes out as it went in."""
    archive, target, staging = folders
    source = tmp_path / "source"
    (source / "deep" / "er").mkdir(parents=True)
    (source / "deep" / "er" / ("long" * 40)).write_bytes(b"content")
    (source / "ünïcode name").write_text("x")
    subprocess.run(["tar", "-czf", archive, "-C", source, "."], check=True, timeout=20)
    unpack(archive, target, staging=staging)
    assert snapshot(target) == snapshot(source)


@pytest.mark.parametrize(
    ("member", "words"),
    [
        (entry("../evil", b"x"), "upwards"),
        (entry("a/../../evil", b"x"), "upwards"),
        (entry("/tmp/evil", b"x"), "absolute"),
        (entry("link", kind=tarfile.SYMTYPE, linkname="/etc"), "symbolic link"),
        (entry("hard", kind=tarfile.LNKTYPE, linkname="/etc/passwd"), "hard link"),
        (entry("disk", kind=tarfile.BLKTYPE, devmajor=8), "block device"),
        (entry("tty", kind=tarfile.CHRTYPE, devmajor=5), "character device"),
        (entry("pipe", kind=tarfile.FIFOTYPE), "FIFO"),
        (entry("odd", kind=b"Z"), "unknown type"),
        (entry("sparse", b"x", pax_headers={"GNU.sparse.major": "1", "GNU.sparse.realsize": "99999999"}), "GNU.sparse"),
        (entry("linked", b"x", pax_headers={"linkpath": "/etc/passwd"}), "linkpath"),
        (entry("latin", b"x", pax_headers={"hdrcharset": "ISO-8859-1"}), "hdrcharset"),
        (entry("big", b"x", pax_headers={"comment": "x" * 100_000}), "extension header"),
        (entry("a/" * 40 + "b", b"x"), "too deep"),
        (entry("n" * 300, b"x"), "too long"),
        (entry("file/", b"x", kind=b"0"), "proper name"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_hostile_members_are_refused(
    folders: tuple[Path, Path, Path], member: tuple[tarfile.TarInfo, bytes], words: str
) -> None:
    """Links, devices, paths that lead outside, sparse tricks and endless names are refused, and nothing is written."""
    assert words in refuse(folders, tar(entry("good", b"1"), member, entry("good too", b"2")))


@pytest.mark.parametrize("second", [entry("a", b"2"), entry("a", kind=tarfile.DIRTYPE), entry("a/b", b"2")])
def test_one_name_twice_is_refused(folders: tuple[Path, Path, Path], second: tuple[tarfile.TarInfo, bytes]) -> None:
    """A second member of the same name, or below a file, is refused: readers disagree about what it means."""
    assert "twice" in refuse(folders, tar(entry("a", b"1"), second))


def test_bombs_are_refused(folders: tuple[Path, Path, Path]) -> None:
    """More bytes, entries or folders than allowed end the unpacking early, with nothing left."""
    limits = ArchiveLimits(total_bytes=1 << 18, entries=50)
    assert "bytes come out" in refuse(folders, tar(entry("zeros", bytes(1 << 19))), limits)
    assert "bytes come out" in refuse(folders, tar(*(entry(f"f{i}", bytes(10_000)) for i in range(40))), limits)
    assert "bytes come out" in refuse(folders, tar(entry("a", b"1")) + bytes(1 << 20), limits)
    assert "entries" in refuse(folders, tar(*(entry(f"f{i}") for i in range(60))), limits)
    assert "entries" in refuse(folders, tar(entry("a/" * 30 + "x"), entry("b/" * 30 + "x")), limits)


def test_a_frame_that_wants_much_memory_is_refused(folders: tuple[Path, Path, Path]) -> None:
    """A zstd frame whose window is larger than we grant is refused before anything is decompressed."""
    archive, target, staging = folders
    parameters = zstandard.ZstdCompressionParameters(window_log=30, enable_ldm=True)
    with archive.open("wb") as file, zstandard.ZstdCompressor(compression_params=parameters).stream_writer(file) as out:
        out.write(tar(entry("x", b"y")))
    with pytest.raises(PermanentJobError, match="damaged"):
        unpack(archive, target, staging=staging)
    assert list(target.iterdir()) == []


@pytest.mark.parametrize("cut", [0, 3, 40, -5000, -20, -1])
@pytest.mark.parametrize("format", COMPRESSORS)
def test_damaged_archives_are_refused(folders: tuple[Path, Path, Path], format: str, cut: int) -> None:
    """A cut-off archive is named as damaged, never half unpacked, even when only its own checksum is missing."""
    archive, target, staging = folders
    whole = COMPRESSORS[format](tar(entry("a", os.urandom(5000)), entry("b", os.urandom(5000))))
    archive.write_bytes(whole[:cut] if cut else b"no archive at all")
    with pytest.raises(PermanentJobError) as raised:
        unpack(archive, target, staging=staging)
    assert raised.value.error_type == "damaged_archive"
    assert list(target.iterdir()) == list(staging.iterdir()) == []


def test_set_id_bits_are_stripped(folders: tuple[Path, Path, Path]) -> None:
    """Neither setuid nor setgid nor write permission for others survives."""
    archive, target, staging = folders
    unpack(write(archive, tar(entry("tool", b"x", mode=0o7777))), target, staging=staging)
    assert stat.S_IMODE((target / "tool").stat().st_mode) == 0o755


def test_archives_are_merged(folders: tuple[Path, Path, Path]) -> None:
    """A second archive adds to folders of the first and replaces its files; a file never replaces a folder."""
    archive, target, staging = folders
    unpack(write(archive, tar(entry("d/one", b"1"), entry("d/both", b"1"))), target, staging=staging)
    unpack(write(archive, tar(entry("d/two", b"2"), entry("d/both", b"2"))), target, staging=staging)
    assert snapshot(target) == {"d": "folder", "d/one": b"1", "d/two": b"2", "d/both": b"2"}
    with pytest.raises(PermanentJobError, match="folder"):
        unpack(write(archive, tar(entry("d", b"x"))), target, staging=staging)


def test_a_stop_leaves_nothing(folders: tuple[Path, Path, Path]) -> None:
    """A check that raises in the middle ends the unpacking at once, with nothing moved in."""
    archive, target, staging = folders
    write(archive, tar(*(entry(f"f{i}", bytes(10_000)) for i in range(20))))
    calls = iter(range(30))

    def check() -> None:
        if next(calls) > 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        unpack(archive, target, staging=staging, check=check)
    assert list(target.iterdir()) == list(staging.iterdir()) == []


def test_packed_is_unpacked(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """What was packed comes out again; equal files make equal archives; the measured size is about right."""
    archive, target, staging = folders
    source = tmp_path / "source"
    source.mkdir()
    (source / "out.txt").write_bytes(os.urandom(10_000))
    files = [("sub/out.txt", opener(source, "out.txt"))]
    size = pack(files, archive)
    assert size == archive.stat().st_size
    assert abs(packed_size(opener(source, "out.txt"), 1 << 20) - size) < 500
    pack(files, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == archive.read_bytes()
    unpack(archive, target, staging=staging)
    assert (target / "sub/out.txt").read_bytes() == (source / "out.txt").read_bytes()


def test_failed_packing_leaves_nothing(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """A file that vanished ends the packing with an error and no half archive."""
    with pytest.raises(FileNotFoundError):
        pack([("x", opener(tmp_path, "vanished"))], folders[0])
    assert not folders[0].exists()


def test_repetitive_files_are_no_bombs(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """However well it was compressed, by ten thousand to one, what was packed comes out again."""
    archive, target, staging = folders
    with (tmp_path / "out").open("wb") as file:
        for _ in range(100):
            file.write(b"event processed\n" * (1 << 16))
    size = pack([("std.out", opener(tmp_path, "out"))], archive)
    unpacked = unpack(archive, target, staging=staging)

    assert unpacked.bytes == 100 << 20 > 5000 * size
    assert (target / "std.out").stat().st_size == 100 << 20


@pytest.mark.parametrize(
    ("names", "sizes", "words"),
    [
        (["a", "b"], [600, 600], "bytes"),
        (["a/b/c", "a/b/d", "e/f/g"], [1, 1, 1], "entries"),
        (["a/" * 32 + "x"], [1], "too deep"),
        (["n" * 256], [1], "too long"),
        (["../x"], [1], "upwards"),
        (["/x"], [1], "absolute"),
        (["x", "./x"], [1, 1], "twice"),
        (["a", "a/b"], [1, 1], "twice"),
        ([""], [1], "proper name"),
    ],
)
def test_what_cannot_be_unpacked_is_not_packed(
    folders: tuple[Path, Path, Path], tmp_path: Path, names: list[str], sizes: list[int], words: str
) -> None:
    """Who packs hears at once what who unpacks would say, and nothing is left."""
    for size in sizes:
        (tmp_path / str(size)).write_bytes(bytes(size))
    files = [(name, opener(tmp_path, str(size))) for name, size in zip(names, sizes, strict=True)]
    with pytest.raises(HostileArchiveError, match=words):
        pack(files, folders[0], limits=ArchiveLimits(total_bytes=1000, entries=5))
    assert not folders[0].exists()
