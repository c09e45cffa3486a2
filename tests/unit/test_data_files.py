"""Files below a folder that somebody else fills, the folder as storage element, checksums and logical names."""

import os
import zlib
from pathlib import Path

import pytest

from runner.data.below import NotBelow, find_below, open_below
from runner.data.lfn import Owner, checked, output_lfn
from runner.data.storage import FolderStorageElement, open_elements
from runner.data.transfers import adler32_of, verify
from runner.errors import ChecksumError, NotFoundError, PermanentJobError, UnavailableError

ALICE = Owner("lhcb", "alice")


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A working directory with honest files, and with everything that a payload could plant."""
    work = tmp_path / "work"
    (work / "sub" / "deep").mkdir(parents=True)
    (tmp_path / "secret").write_text("secret")
    for name in ("a.txt", "b.txt", ".hidden", "sub/c.txt", "sub/deep/d.txt"):
        (work / name).write_text(name)
    (work / "link.txt").symlink_to(tmp_path / "secret")
    (work / "linked").symlink_to(tmp_path)
    os.mkfifo(work / "fifo.txt")
    return work


def names(work: Path, pattern: str) -> list[str]:
    return [each.name for each in find_below(work, pattern)]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a.txt", ["a.txt"]),
        ("./a.txt", ["a.txt"]),
        ("*.txt", ["a.txt", "b.txt"]),
        ("?.txt", ["a.txt", "b.txt"]),
        ("[b-z].txt", ["b.txt"]),
        (".h*", [".hidden"]),
        ("*/*.txt", ["sub/c.txt"]),
        ("sub", ["sub/c.txt", "sub/deep/d.txt"]),
        ("s*/deep/*", ["sub/deep/d.txt"]),
        ("nothing*", []),
        ("link.txt", []),
        ("linked/secret", []),
        ("linked", []),
        ("fifo.txt", []),
        ("../secret", []),
        ("/etc/passwd", []),
        ("sub/../../secret", []),
        ("", []),
    ],
)
def test_globs_find_regular_files_only(work: Path, pattern: str, expected: list[str]) -> None:
    """A glob means regular files below the folder, as in a shell; links, FIFOs and ways out find nothing."""
    assert names(work, pattern) == expected


@pytest.mark.parametrize(
    "name", ["link.txt", "linked/secret", "fifo.txt", "../secret", "/etc/passwd", "sub", "", "a\0b"]
)
def test_nothing_else_is_opened(work: Path, name: str) -> None:
    """Links, FIFOs, folders and names that lead outside are refused, and no FIFO makes us wait."""
    with pytest.raises(OSError, match=r".") as raised:
        open_below(work, name)
    assert not isinstance(raised.value, FileNotFoundError)


def test_an_honest_file_is_opened(work: Path) -> None:
    """A regular file in a real folder is opened for reading."""
    with os.fdopen(open_below(work, "sub/c.txt")) as file:
        assert file.read() == "sub/c.txt"


def test_hard_links_of_others_are_refused(work: Path, tmp_path: Path) -> None:
    """Under another uid, a second name of a file that is not the payload's may be anybody's file."""
    os.link(tmp_path / "secret", work / "hard.txt")
    owner = os.geteuid()
    os.close(open_below(work, "hard.txt"))
    os.close(open_below(work, "hard.txt", owner=owner))
    with pytest.raises(NotBelow, match="hard link"):
        open_below(work, "hard.txt", owner=owner + 1)
    os.close(open_below(work, "a.txt", owner=owner + 1))


def test_endless_depth_ends(work: Path) -> None:
    """A tree deeper than we look does not exhaust us."""
    fd = os.open(work / "sub", os.O_RDONLY)
    for _ in range(300):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    assert names(work, "sub") == ["sub/c.txt", "sub/deep/d.txt"]


def test_storage_keeps_what_it_gets(tmp_path: Path) -> None:
    """What was put under an LFN comes back as copy or link, whole, under its physical name."""
    element = open_elements(tmp_path / "storage", ["SE-USER"])["SE-USER"]
    source = tmp_path / "source"
    source.write_bytes(b"x" * 3_000_000)
    pfn = element.put(source, "/lhcb/user/a/alice/x y.dat")
    assert pfn == f"file://{tmp_path}/storage/SE-USER/lhcb/user/a/alice/x%20y.dat"
    assert element.put(source, "/lhcb/user/a/alice/x y.dat") == pfn
    element.get(pfn, tmp_path / "copy", link=False)
    element.get(pfn, tmp_path / "link", link=True)
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "link").read_bytes() == source.read_bytes()
    assert (tmp_path / "link").is_symlink()
    assert sorted(path.name for path in (tmp_path / "storage").rglob("*") if path.is_file()) == ["x y.dat"]


@pytest.mark.parametrize(
    "pfn", ["file:///etc/passwd", "http://x/y", "file://{se}/../secret", "file://host{se}/a", "x", "file://[x"]
)
def test_storage_gives_only_its_own(tmp_path: Path, pfn: str) -> None:
    """A physical name that is not of this element, whoever told it to the catalogue, is not found."""
    element = FolderStorageElement("SE-USER", tmp_path / "se")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "se").mkdir()
    (tmp_path / "se" / "link").symlink_to(tmp_path / "secret")
    for name in (
        pfn.replace("{se}", f"{tmp_path}/se"),
        f"file://{tmp_path}/se/link",
        f"file://{tmp_path}/se/no",
    ):
        with pytest.raises(NotFoundError):
            element.get(name, tmp_path / "target", link=False)
    assert not (tmp_path / "target").exists()


def test_one_place_for_each_name(tmp_path: Path) -> None:
    """Where `put` stores a file is the only place of its name, however the URL spells it; near it is not there."""
    element = FolderStorageElement("SE-USER", tmp_path / "se")
    (tmp_path / "source").write_text("x")
    lfn, root = "/lhcb/user/a/alice/x y.dat", f"file://{tmp_path}/se"
    element.check_place(element.put(tmp_path / "source", lfn), lfn)
    element.check_place(f"{root}{lfn}", lfn)
    for pfn in (
        f"{root}/lhcb/user/b/bob/x", f"{root}/sub{lfn}", f"{root}/../se{lfn}", f"{root}/.{lfn}", f"{root}{lfn}/",
        f"{root}/{lfn}", f"file://host{tmp_path}/se{lfn}", f"file://{tmp_path}/other{lfn}", f"file://{lfn}", lfn,
        f"{root}/lhcb/user/b/bob/..%2f..%2fa/alice/x y.dat", "",
    ):  # fmt: skip
        with pytest.raises(NotFoundError):
            element.check_place(pfn, lfn)


def test_storage_that_is_away(tmp_path: Path) -> None:
    """An element whose folder is not there, or cannot be written, is unavailable: another time it may be."""
    element = FolderStorageElement("SE-USER", tmp_path / "se")
    with pytest.raises(UnavailableError, match="not there"):
        element.get(f"file://{tmp_path}/se/a", tmp_path / "target", link=False)
    (tmp_path / "se").write_text("a file")
    (tmp_path / "source").write_text("x")
    with pytest.raises(UnavailableError):
        element.put(tmp_path / "source", "/lhcb/a")


def test_checksums(tmp_path: Path) -> None:
    """adler32 is written as 8 digits; another size or sum is an error that names the file."""
    path = tmp_path / "data"
    path.write_bytes(b"content")
    assert adler32_of(path) == f"{zlib.adler32(b'content'):08x}"
    verify(path, 7, adler32_of(path).upper().lstrip("0"))
    with pytest.raises(ChecksumError, match="8"):
        verify(path, 8, adler32_of(path))
    with pytest.raises(ChecksumError, match="data"):
        verify(path, 7, "00000001")


@pytest.mark.parametrize(
    ("file", "path", "lfn"),
    [
        ("out.root", "", "/lhcb/user/a/alice/12/12345/out.root"),
        ("sub/out.root", "", "/lhcb/user/a/alice/12/12345/out.root"),
        ("out.root", "run/7/", "/lhcb/user/a/alice/run/7/out.root"),
        ("out.root", "LFN:/lhcb/prod/x", "/lhcb/prod/x/out.root"),
        ("out.root", "/lhcb/prod/x", "/lhcb/prod/x/out.root"),
        ("LFN:/lhcb/mine/out.root", "run", "/lhcb/mine/out.root"),
    ],
)
def test_names_of_output_data(file: str, path: str, lfn: str) -> None:
    """DIRAC's convention: by owner and job, or by OutputPath, or as the job says."""
    assert output_lfn(ALICE, 12345, file, path) == lfn


@pytest.mark.parametrize(
    "lfn", ["relative/x", "/one", "/a/../b", "/a//b", "/a/b/", "/a/\nb", "/a/./b", "/a/" + "x" * 256, "/a/\udce9"]
)
def test_no_logical_names(lfn: str) -> None:
    """What is no absolute, normal path is no LFN."""
    with pytest.raises(PermanentJobError):
        checked(lfn)
