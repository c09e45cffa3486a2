"""Whatever is in an archive, it changes nothing outside its folder."""

import os
import tarfile
import tempfile
from pathlib import Path
from posixpath import normpath

from hypothesis import example, given
from hypothesis import strategies as st

from runner.data.archives import ArchiveLimits, opener, pack, unpack
from runner.errors import PermanentJobError
from tests.support.tars import COMPRESSORS, entry, snapshot, tar

STEPS = st.sampled_from(["a", "b", "..", ".", "", "link", "x" * 60, "ünï", "new\nline", "-rf", "mine"])
NAMES = st.builds(
    lambda lead, steps: lead + "/".join(steps),
    st.sampled_from(["", "/", "./"]),
    st.lists(STEPS, min_size=1, max_size=5),
)
KINDS = st.sampled_from(
    [
        tarfile.REGTYPE,
        tarfile.AREGTYPE,
        tarfile.DIRTYPE,
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.FIFOTYPE,
        tarfile.CHRTYPE,
    ]
)
TARGETS = st.sampled_from(["..", "/etc/passwd", "../../outside", "a", ""])
PAX = st.dictionaries(
    st.sampled_from(["path", "size", "linkpath", "comment", "GNU.sparse.name"]),
    st.sampled_from(["../x", "7", "/abs", "-1", "a"]),
    max_size=2,
)

#: What is in the folder when an archive was refused.
UNTOUCHED = {"job/target/mine": b"mine"}


@st.composite
def members(draw: st.DrawFn) -> tuple[tarfile.TarInfo, bytes]:
    kind = draw(KINDS)
    content = draw(st.binary(max_size=700)) if kind in (tarfile.REGTYPE, tarfile.AREGTYPE) else b""
    return entry(
        draw(NAMES),
        content,
        kind=kind,
        linkname=draw(TARGETS),
        mode=draw(st.integers(0, 0o7777)),
        pax_headers=draw(PAX),
    )


def outcome(data: bytes) -> tuple[bool, dict[str, bytes | str]]:
    """Unpack *data* beside files that must stay; whether it was taken, and what is in the folder then."""
    with tempfile.TemporaryDirectory() as top:
        base = Path(top)
        for name in ("job/target", "job/staging", "outside"):
            (base / name).mkdir(parents=True)
        (base / "outside/secret").write_text("secret")
        (base / "job/target/mine").write_text("mine")
        (base / "job/archive").write_bytes(data)
        before = snapshot(base)
        limits = ArchiveLimits(total_bytes=1 << 16, entries=40, depth=8)
        try:
            unpack(base / "job/archive", base / "job/target", staging=base / "job/staging", limits=limits)
            taken = True
        except PermanentJobError:
            taken = False
            assert snapshot(base) == before
        after = snapshot(base)
        assert {name: content for name, content in after.items() if not name.startswith("job/target/")} == {
            name: content for name, content in before.items() if not name.startswith("job/target/")
        }
        inside = {name: after[name] for name in after if name.startswith("job/target/")}
        assert not any(isinstance(content, str) and content.startswith("link") for content in inside.values())
        return taken, inside


@given(st.lists(members(), max_size=6), st.sampled_from(sorted(COMPRESSORS)))
@example([entry("mine/a", b""), entry("b", b"")], "tar.gz")  # one that can be moved in beside one that cannot
def test_hostile_archives_change_nothing_outside(entries: list[tuple[tarfile.TarInfo, bytes]], format: str) -> None:
    """Any mixture of members is either taken whole, inside and without links, or refused with nothing changed."""
    taken, inside = outcome(COMPRESSORS[format](tar(*entries, format=tarfile.GNU_FORMAT)))
    wanted = {normpath(f"job/target/{info.name}") for info, _ in entries}
    assert wanted <= {"job/target", *inside} if taken else inside == UNTOUCHED


@given(st.data())
def test_damaged_archives_change_nothing(data: st.DataObject) -> None:
    """A tar archive with any few bytes changed is taken or refused cleanly, never half."""
    raw = bytearray(
        tar(entry("a/b", b"content" * 50), entry("c", b"1", pax_headers={"comment": "x"}), entry("d" * 120, b"2"))
    )
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    taken, inside = outcome(COMPRESSORS["tar.zst"](bytes(raw)))
    assert taken or inside == UNTOUCHED


@given(st.binary(max_size=300), st.sampled_from([b"\x1f\x8b\x08\x00", b"BZh9", b"\x28\xb5\x2f\xfd", b""]))
def test_garbage_is_refused(garbage: bytes, magic: bytes) -> None:
    """Bytes that are no archive are refused, whatever their first ones promise."""
    taken, _ = outcome(magic + garbage)
    assert not taken


@given(
    st.dictionaries(
        st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8}){0,3}", fullmatch=True), st.binary(max_size=2000), max_size=6
    ),
    st.sampled_from(sorted(COMPRESSORS)),
)
def test_good_archives_come_out_whole(files: dict[str, bytes], format: str) -> None:
    """Files of distinct names, none below another, come out exactly as they went in."""
    files = {
        name: content
        for name, content in files.items()
        if not any(name != other and other.startswith(f"{name}/") for other in files)
    }
    taken, inside = outcome(COMPRESSORS[format](tar(*(entry(name, content) for name, content in files.items()))))
    assert taken
    found = {
        name.removeprefix("job/target/"): content for name, content in inside.items() if isinstance(content, bytes)
    }
    assert {**found, "mine": b""} == {**files, "mine": b""}


PIECES = st.builds(lambda piece, times: piece * times, st.binary(max_size=20), st.sampled_from([1, 3, 50_000]))
#: Names as a file system has them: any bytes but two.
STEP = st.binary(min_size=1, max_size=40).filter(lambda step: not {0, 47} & set(step) and step not in (b".", b".."))


@given(st.dictionaries(st.lists(STEP, min_size=1, max_size=4).map(b"/".join).map(os.fsdecode), PIECES, max_size=5))
@example({os.fsdecode(b"caf\xe9.txt"): b"x", "\u0308 \u202e": b"", "a" * 101 + "/" + "b" * 200: b"event\n" * 10**6})
def test_what_is_packed_is_unpacked(files: dict[str, bytes]) -> None:
    """Names of any bytes and content of any kind go through our own archives unchanged."""
    with tempfile.TemporaryDirectory() as top:
        base = Path(top)
        for name in ("target", "staging"):
            (base / name).mkdir()
        for number, content in enumerate(files.values()):
            (base / str(number)).write_bytes(content)
        items = [(name, opener(base, str(number))) for number, name in enumerate(files)]
        try:
            pack(items, base / "archive")
        except PermanentJobError:  # one of them below another: no folder has both
            assert any(name != other and other.startswith(f"{name}/") for name in files for other in files)
            return
        unpack(base / "archive", base / "target", staging=base / "staging")
        assert {name: found for name, found in snapshot(base / "target").items() if found != "folder"} == files
