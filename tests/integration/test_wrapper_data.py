"""Input data, outputs and the options of [JobWrapper] that shape them, on real files."""

import os
import random
from collections.abc import Callable
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest

from runner.data import input_data_resolution
from runner.data.input_data_resolution import InputDataRequest, InputDataResult
from runner.data.ports import Replica
from runner.data.transfers import adler32_of
from runner.errors import NotFoundError, PermanentJobError, UnavailableError
from runner.wrapper import job_execution_coordinator
from runner.wrapper.job_execution_coordinator import JobExecutionCoordinator
from telemetry.facts import DataMoved
from tests.support.wrapper_fakes import Bench

LFN = "/lhcb/user/a/alice/input.csv"
MINE = "/lhcb/user/a/alice/12/12345/result.txt"


def write(**files: bytes) -> Callable[[Path], None]:
    def act(work: Path) -> None:
        for name, content in files.items():
            (work / name.replace("_", ".")).write_bytes(content)

    return act


def register(bench: Bench, lfn: str, content: bytes) -> None:
    source = bench.folders.control / "source"
    source.write_bytes(content)
    pfn = bench.element.put(source, lfn)
    bench.catalog.files[lfn] = Replica(
        lfn=lfn, size_bytes=len(content), adler32=adler32_of(source), pfns={"SE-USER": pfn}
    )
    source.unlink()


def noise(size: int) -> bytes:
    """Bytes that no compression makes smaller, the same every time."""
    return random.Random(7).randbytes(size)


def test_input_data(tmp_path: Path) -> None:
    """The payload finds its input data, checked, under the last step of each name."""
    bench = Bench(tmp_path, {"InputData": [f"LFN:{LFN}"]})
    register(bench, LFN, b"1,2,3")
    seen: list[bytes] = []
    bench.payload.act = lambda work: seen.append((work / "input.csv").read_bytes())
    assert bench.run() == 0
    assert seen == [b"1,2,3"]
    assert (None, "Input Data Resolution") in bench.statuses
    assert [(each.kind, each.files, each.bytes) for each in bench.facts(DataMoved)] == [("input_data", 1, 5)]


def test_missing_input_data(tmp_path: Path) -> None:
    """What the catalogue does not know is named in MissingLFNs; the job is Failed, Input Data Not Available."""
    bench = Bench(tmp_path, {"InputData": [f"LFN:{LFN}", "LFN:/lhcb/x/y"]})
    register(bench, LFN, b"1,2,3")
    assert bench.run() == 1
    assert bench.parameters["MissingLFNs"] == "/lhcb/x/y"
    assert (bench.end.status, bench.end.minor_status) == ("Failed", "Input Data Not Available")


def test_input_sandbox_by_lfn(tmp_path: Path) -> None:
    """A file of the input sandbox that has an LFN arrives as it is, an archive too."""
    bench = Bench(tmp_path, {"InputSandbox": [f"LFN:{LFN}"]}, {"clean_up": False})
    register(bench, LFN, b"\x1f\x8b no archive")
    assert bench.run() == 0
    assert (bench.folders.work / "input.csv").read_bytes() == b"\x1f\x8b no archive"
    bench = Bench(tmp_path / "2", {"InputSandbox": ["LFN:/lhcb/x/y"]})
    assert bench.run() == 1
    bench = Bench(tmp_path / "3", {"InputSandbox": ["local.txt"]})
    bench.store.error = NotFoundError("never asked")
    assert bench.run() == 1
    assert bench.end.error_type == "input_sandbox"


def test_output_data(tmp_path: Path) -> None:
    """Output data lies on the storage element under DIRAC's LFN, and is registered with size and checksum."""
    bench = Bench(tmp_path, {"OutputData": ["result*", "nothing"], "OutputSandbox": ["std.out"]})
    bench.payload.act = write(result_txt=b"content", std_out=b"hello")
    assert bench.run() == 0
    ((catalog, replica),) = bench.catalog.registered
    assert (catalog, replica.lfn, replica.size_bytes) == ("FileCatalog", MINE, 7)
    assert (tmp_path / "SE-USER" / MINE[1:]).read_bytes() == b"content"
    assert bench.parameters["UploadedOutputData"] == MINE
    assert bench.parameters["OutputData"] == "MissingFiles: nothing"
    assert bench.statuses[-3:] == [
        ("Completing", "Uploading Output Data"),
        ("Completing", "Output Data Uploaded"),
        ("Done", "Execution Complete"),
    ]


def test_output_data_of_a_second_attempt(tmp_path: Path) -> None:
    """A file that is there with the same content is no trouble; with other content nothing is overwritten."""
    for content, status in ((b"content", "Done"), (b"another", "Failed")):
        bench = Bench(tmp_path / status, {"OutputData": ["result.txt"]})
        register(bench, MINE, b"content")
        bench.payload.act = write(result_txt=content)
        bench.run()
        assert bench.end.status == status
        assert (tmp_path / status / "SE-USER" / MINE[1:]).read_bytes() == b"content"
    assert (bench.end.minor_status, bench.end.error_type) == ("Uploading Output Data", "output_data_refused")


def test_an_unknown_storage_element_is_refused(tmp_path: Path) -> None:
    """OutputSE that is not here is an error in words, never ignored."""
    bench = Bench(tmp_path, {"OutputData": ["result.txt"], "OutputSE": ["SE-MARS"]})
    bench.payload.act = write(result_txt=b"content")
    assert bench.run() == 3
    assert bench.end.minor_status == "Uploading Output Data"
    assert "SE-MARS" in str(bench.parameters["Error Message"])


def test_default_catalog_and_master_catalog_only(tmp_path: Path) -> None:
    """DefaultCatalog says where output data is registered: in the first, or with the flag off in all."""
    for only, expected in ((True, ["One"]), (False, ["One", "Two"])):
        options = {"default_catalog": ("One", "Two"), "master_catalog_only": only}
        bench = Bench(tmp_path / str(only), {"OutputData": ["result.txt"]}, options)
        bench.payload.act = write(result_txt=b"content")
        assert bench.run() == 0
        assert [name for name, _ in bench.catalog.registered] == expected


class Flaky:
    """A storage element that fails the first times."""

    name = "SE-USER"

    def __init__(self, element: Any, failures: int) -> None:
        self._element = element
        self._failures = failures

    def get(self, pfn: str, target: Path, *, link: bool) -> None:
        self._element.get(pfn, target, link=link)

    def put(self, source: Path, lfn: str) -> str:
        self._failures -= 1
        if self._failures >= 0:
            raise UnavailableError("SE-USER is full")
        return str(self._element.put(source, lfn))


def test_retry_upload(tmp_path: Path) -> None:
    """With RetryUpload a failed upload of output data is tried again; without, the job goes back."""
    for retry, end in ((True, ("Done", "Execution Complete")), (False, ("Rescheduled", "Uploading Outputs"))):
        bench = Bench(tmp_path / str(retry), {"OutputData": ["result.txt"]}, {"retry_upload": retry})
        bench.replace(storage_elements={"SE-USER": Flaky(bench.element, 1)})
        bench.payload.act = write(result_txt=b"content")
        bench.run()
        assert (bench.end.status, bench.end.minor_status) == end


def test_output_goes_to_the_first_element_that_takes_it(tmp_path: Path) -> None:
    """Of several OutputSE the next one is used when one is away."""
    bench = Bench(tmp_path, {"OutputData": ["result.txt"], "OutputSE": ["SE-X", "SE-USER"]})
    bench.replace(storage_elements={"SE-USER": bench.element, "SE-X": Flaky(None, 99)})
    bench.payload.act = write(result_txt=b"content")
    assert bench.run() == 0
    assert list(bench.catalog.files[MINE].pfns) == ["SE-USER"]


def test_output_sandbox_limit(tmp_path: Path) -> None:
    """Beyond OutputSandboxLimit streams keep head and tail, small files fit, others are named as missing."""
    limit = 64 << 10
    bench = Bench(tmp_path, {"OutputSandbox": ["*"]}, {"output_sandbox_limit_bytes": limit})
    bench.payload.act = write(
        std_out=b"first line\n" + noise(400_000) + b"\nlast line\n",
        std_err=b"short\n",
        large_bin=noise(100_000),
        small_bin=noise(5_000),
    )
    assert bench.run() == 0
    files = bench.store.output()
    assert set(files) == {"std.out", "std.err", "small.bin"}
    assert files["std.out"].startswith(b"first line\n")
    assert files["std.out"].endswith(b"\nlast line\n")
    assert b"bytes left out: OutputSandboxLimit" in files["std.out"]
    assert files["std.err"] == b"short\n"
    assert bench.store.uploads[0].stat().st_size <= limit
    assert bench.parameters["OutputSandboxMissingFiles"] == "large.bin"
    head, _, tail = files["std.out"].partition(b"\n--- ")
    notice, _, tail = tail.partition(b" ---\n")
    left_out = int(notice.split()[0])
    assert len(head) + len(tail) + left_out == 400_000 + len(b"first line\n\nlast line\n")
    assert bench.parameters["OutputSandboxDroppedBytes"] == left_out + 100_000
    assert [each.dropped_bytes for each in bench.facts(DataMoved) if each.kind == "output_sandbox"] == [
        left_out + 100_000
    ]
    assert list(bench.folders.control.iterdir()) == []


def test_a_stream_takes_the_room_that_others_leave(tmp_path: Path) -> None:
    """A stream that is alone fills the limit, and not half of it; both its ends are there."""
    limit = 64 << 10
    bench = Bench(tmp_path, {"OutputSandbox": ["std.out", "absent"]}, {"output_sandbox_limit_bytes": limit})
    bench.payload.act = write(std_out=b"first line\n" + noise(3_000_000) + b"\nlast line\n")
    assert bench.run() == 0
    text = bench.store.output()["std.out"]
    assert (text[:11], text[-11:]) == (b"first line\n", b"\nlast line\n")
    assert limit * 0.9 < bench.store.uploads[0].stat().st_size <= limit
    assert bench.parameters["OutputSandboxMissingFiles"] == "absent"


def test_nothing_fits(tmp_path: Path) -> None:
    """Without room for any of the files nothing is uploaded, and all of them are named and counted."""
    bench = Bench(tmp_path, {"OutputSandbox": ["*.bin"]}, {"output_sandbox_limit_bytes": 1024})
    bench.payload.act = write(a_bin=noise(5_000), b_bin=noise(6_000))
    assert bench.run() == 0
    assert bench.store.uploads == []
    assert bench.parameters["OutputSandboxMissingFiles"] == "a.bin, b.bin"
    assert bench.parameters["OutputSandboxDroppedBytes"] == 11_000


def test_compressible_output_is_cut_less(tmp_path: Path) -> None:
    """The limit is of compressed bytes: ordinary text far beyond it is kept whole."""
    text = b"".join(b"event %d ok\n" % number for number in range(100_000))
    bench = Bench(tmp_path, {"OutputSandbox": ["std.out"]}, {"output_sandbox_limit_bytes": len(text) // 3})
    bench.payload.act = write(std_out=text)
    assert bench.run() == 0
    assert bench.store.output() == {"std.out": text}


def test_every_output_sandbox_can_be_unpacked(tmp_path: Path) -> None:
    """Whatever a payload leaves: what no archive takes is named as missing, or cut, and the rest arrives."""
    deep = "/".join(["d"] * 40)

    def act(work: Path) -> None:
        (work / deep).mkdir(parents=True)
        (work / deep / "far").write_text("x")
        for name in ("std.out", "huge.bin"):
            with (work / name).open("wb") as file:
                file.truncate(21 << 30)
        (work / os.fsdecode(b"caf\xe9.txt")).write_text("coffee")
        with (work / os.fsdecode(b"th\xe9.bin")).open("wb") as file:
            file.truncate(21 << 30)

    bench = Bench(tmp_path, {"OutputSandbox": ["*"]}, {"output_sandbox_limit_bytes": 64 << 10})
    bench.payload.act = act
    assert bench.run() == 0
    files = bench.store.output()
    assert set(files) - {"std.err"} == {"std.out", os.fsdecode(b"caf\xe9.txt")}
    assert b"bytes left out: OutputSandboxLimit" in files["std.out"]
    assert bench.parameters["OutputSandboxMissingFiles"] == f"{deep}/far, huge.bin, th?.bin"


def test_default_output_and_error_file(tmp_path: Path) -> None:
    """A job that names no files gets the configured ones; names of its own win."""
    options = {"default_output_file": "o.txt", "default_error_file": "e.txt"}
    bench = Bench(tmp_path / "1", {}, options)
    bench.run()
    command = bench.payload.commands[0]
    assert (command.stdout, command.stderr) == (bench.folders.work / "o.txt", bench.folders.work / "e.txt")
    bench = Bench(tmp_path / "2", {"StdOutput": "mine", "StdError": "mine"}, options)
    bench.run()
    assert {bench.payload.commands[0].stdout, bench.payload.commands[0].stderr} == {bench.folders.work / "mine"}


def test_clean_up_flag(tmp_path: Path) -> None:
    """CleanUpFlag removes the working directory, whatever is in it; off, it stays."""

    def nasty(work: Path) -> None:
        (work / "dir").mkdir()
        (work / "dir" / "file").write_text("x")
        (work / "link").symlink_to(tmp_path / "precious")
        (work / "dir").chmod(0o000)
        fd = os.open(work, os.O_RDONLY)
        for _ in range(400):
            os.mkdir("d" * 50, dir_fd=fd)
            below = os.open("d" * 50, os.O_RDONLY, dir_fd=fd)
            os.close(fd)
            fd = below
        os.close(fd)

    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "data").write_text("x")
    for flag in (True, False):
        bench = Bench(tmp_path / str(flag), {}, {"clean_up": flag})
        bench.payload.act = nasty if flag else None
        assert bench.run() == 0
        assert bench.folders.work.exists() is not flag
    assert (tmp_path / "precious" / "data").exists()


def test_leftovers_of_a_dead_wrapper_are_removed(tmp_path: Path) -> None:
    """A working directory that is there already does not become part of the job."""
    bench = Bench(tmp_path, {"OutputSandbox": ["*"]})
    bench.folders.work.mkdir()
    (bench.folders.work / "old").write_text("x")
    assert bench.run() == 0
    assert bench.store.uploads == []


def test_planted_links_are_not_uploaded(tmp_path: Path) -> None:
    """A link that the payload leaves in place of an output leads nowhere."""

    def plant(work: Path) -> None:
        (work / "result.txt").symlink_to("/etc/passwd")
        (work / "dir").symlink_to("/etc")
        (work / "good.txt").write_text("good")

    bench = Bench(tmp_path, {"OutputSandbox": ["result.txt", "dir/passwd", "good.txt"], "OutputData": ["result.txt"]})
    bench.payload.act = plant
    assert bench.run() == 0
    assert bench.store.output() == {"good.txt": b"good"}
    assert bench.parameters["OutputSandboxMissingFiles"] == "result.txt, dir/passwd"
    assert bench.catalog.files == {}


class Community(JobExecutionCoordinator):
    """What a community may bring."""

    ended = 0

    def pre_process(
        self, command: tuple[str, ...], environment: dict[str, str]
    ) -> tuple[tuple[str, ...], dict[str, str]]:
        """Run the program under a container of the community's."""
        return ("container", str(self.job_args["JobID"]), *command), {**environment, "SITE": self.ce_args["Site"]}

    def post_process(self) -> None:
        """Count, and refuse to go on."""
        type(self).ended += 1
        raise PermanentJobError("the community does not like it", error_type="community")


def resolve_for_community(request: InputDataRequest) -> InputDataResult:
    """A community's own way to its data."""
    (request.folder / "streamed").write_text(",".join(request.lfns))
    return InputDataResult()


def bring(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, attribute: str) -> None:
    """Install an entry point for one test."""
    point = EntryPoint(name, f"{__name__}:{attribute}", module.GROUP)
    monkeypatch.setattr(EntryPoint, "load", lambda self: globals()[self.attr])
    monkeypatch.setattr(module, "entry_points", lambda **wanted: EntryPoints([point]).select(**wanted))


def test_a_community_brings_its_coordinator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A coordinator found by its entry point changes command and environment, and hears of the end."""
    bring(monkeypatch, job_execution_coordinator, "lhcb", "Community")
    bench = Bench(tmp_path, {}, {"coordinator": "lhcb"})
    assert bench.run() == 1
    command = bench.payload.commands[0]
    assert command.argv == ("container", "12345", "run.sh")
    assert command.environment["SITE"] == "LCG.Test.org"
    assert Community.ended == 1
    assert (bench.end.status, bench.end.error_type) == ("Failed", "community")


def test_a_missing_coordinator_sends_the_job_elsewhere(tmp_path: Path) -> None:
    """A site that lacks its configured coordinator says so, and the job goes back."""
    bench = Bench(tmp_path, {}, {"coordinator": "lhcb"})
    assert bench.run() == 4
    assert bench.end.error_type == "coordinator"


def test_a_community_brings_its_input_data_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """InputDataModule of the job wins over the configured one; both are found through entry points."""
    bring(monkeypatch, input_data_resolution, "Streaming", "resolve_for_community")
    for job, options in (({"InputDataModule": "Streaming"}, {}), ({}, {"input_data_module": "Streaming"})):
        bench = Bench(tmp_path / str(len(job)), {"InputData": [f"LFN:{LFN}"], **job}, {"clean_up": False, **options})
        assert bench.run() == 0
        assert (bench.folders.work / "streamed").read_text() == LFN


@pytest.mark.parametrize(("job", "code"), [({"InputDataModule": "Nobodys"}, 1), ({}, 4)])
def test_an_unknown_input_data_module(tmp_path: Path, job: dict[str, str], code: int) -> None:
    """Named by the job it fails the job; named by the site the job goes elsewhere."""
    bench = Bench(tmp_path, {"InputData": [f"LFN:{LFN}"], **job}, {"input_data_module": "Nobodys"})
    assert bench.run() == code
    assert bench.end.error_type == "input_data_module"


@pytest.mark.parametrize(("policy", "linked"), [("copy", False), ("link", True)])
def test_input_data_policy(tmp_path: Path, policy: str, linked: bool) -> None:
    """InputDataPolicy says whether files are copied or linked."""
    bench = Bench(tmp_path, {"InputData": [f"LFN:{LFN}"]}, {"input_data_policy": policy, "clean_up": False})
    register(bench, LFN, b"1,2,3")
    assert bench.run() == 0
    assert (bench.folders.work / "input.csv").is_symlink() == linked


@pytest.mark.root
def test_payload_user_owns_the_working_directory(tmp_path: Path) -> None:
    """With PayloadUser the working directory and what we put there belong to that user; linked data does not."""
    bench = Bench(
        tmp_path,
        {"InputData": [f"LFN:{LFN}"]},
        {"payload_user": "nobody", "input_data_policy": "link", "clean_up": False},
    )
    register(bench, LFN, b"1,2,3")
    assert bench.run() == 0
    command = bench.payload.commands[0]
    assert command.user is not None
    assert bench.folders.work.stat().st_uid == command.user.uid != 0
    assert (bench.folders.work / "input.csv").lstat().st_uid == command.user.uid
    assert (bench.folders.work / "input.csv").stat().st_uid == 0
    assert (command.environment["HOME"], command.environment["USER"]) == (str(bench.folders.work), "nobody")


def test_an_unknown_payload_user(tmp_path: Path) -> None:
    """A node whose PayloadUser does not exist runs nothing, and the job goes elsewhere."""
    bench = Bench(tmp_path, {}, {"payload_user": "no-such-user"})
    assert bench.run() == 4
    assert bench.end.error_type == "payload_user"
