"""ModuleBase and FailoverRequest: the original's contract, in a folder and without any WMS."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from runner.errors import ConfigError, DescriptionError
from runner.failover import modules
from runner.failover.failover_request import FailoverRequest
from runner.failover.module_base import GracefulTermination, ModuleBase, Step
from runner.job.requests import REGISTER_FILE, Operation, RequestFile, is_plain, parse_request

STEPS = ["_resolve_input_variables", "_initialize", "_set_command", "_execute_command", "_execute"]
OUTPUTS = [
    {"outputDataType": "txt", "outputDataSE": "Tier1", "outputDataName": "foo_1.txt"},
    {"outputDataType": "PY", "outputDataSE": "Tier1", "outputDataName": "bar_2.py"},
]
LFNS = ["/lhcb/MC/foo_1.txt", "/lhcb/MC/bar_2.py"]


class Recorder(ModuleBase):
    """Notes every call; does in one of them what the test says."""

    def __init__(self, step: Step, act: dict[str, Any] | None = None) -> None:
        super().__init__(step)
        self.calls: list[str] = []
        self.act = act or {}

    def __getattribute__(self, name: str) -> Any:
        if name not in (*STEPS, "_finalize", "finalize"):
            return super().__getattribute__(name)

        def called() -> Any:
            self.calls.append(name)
            what = self.act.get(name)
            if isinstance(what, BaseException):
                raise what
            return what

        called.__name__ = name
        return called


def step(folder: Path, **more: Any) -> Step:
    return Step(folder=folder, **{"job_id": 12, "production_id": 7, "prod_job_id": 3, **more})


def lines(folder: Path) -> list[Any]:
    path = folder / "job_report.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_the_steps_are_called_in_order(tmp_path: Path) -> None:
    """Five steps, then `_finalize`, then `finalize`."""
    module = Recorder(step(tmp_path))
    assert module.execute().ok
    assert module.calls == [*STEPS, "_finalize", "finalize"]


@pytest.mark.parametrize("number", range(5))
@pytest.mark.parametrize(
    ("act", "ok"),
    [
        (RuntimeError("no such file", 2), False),
        (GracefulTermination("enough"), True),
        (ValueError("a bug"), False),
    ],
)
def test_a_step_may_end_the_module(tmp_path: Path, number: int, act: Exception, ok: bool) -> None:
    """RuntimeError, and any other error, is a failure; GracefulTermination is none; `finalize` comes always."""
    module = Recorder(step(tmp_path), {STEPS[number]: act})
    result = module.execute()

    assert (result.ok, result.message) == (ok, act.args[0])
    assert result.errno == (2 if isinstance(act, RuntimeError) else 0)
    assert module.calls == [*STEPS[: number + 1], "finalize"]
    assert lines(tmp_path) == [{"ApplicationStatus": act.args[0]}]


@pytest.mark.parametrize(
    ("returned", "ok"),
    [
        (None, True),
        (RuntimeError("x"), False),
        (GracefulTermination("x"), True),
        ({"OK": False}, False),
        (False, False),
    ],
)
def test_a_step_returns_none(tmp_path: Path, returned: Any, ok: bool) -> None:
    """One of the two exceptions may also be returned; anything else is a step that has not understood."""
    assert Recorder(step(tmp_path), {"_execute": returned}).execute().ok is ok


def test_an_interrupt_is_no_failure_of_the_module(tmp_path: Path) -> None:
    """It goes on to whoever started the module; `finalize` comes all the same."""
    module = Recorder(step(tmp_path), {"_execute": KeyboardInterrupt()})
    with pytest.raises(KeyboardInterrupt):
        module.execute()
    assert module.calls[-1] == "finalize"


def test_application_status_and_parameters(tmp_path: Path) -> None:
    """With send_flag they are written at once, without with the next one; nothing outside a job, or after a failure."""
    module = ModuleBase(step(tmp_path))
    module.set_application_status("kept", False)
    module.set_job_parameter("Events", 10, False)
    before = lines(tmp_path)
    module.set_job_parameter("Files", 2)
    ModuleBase(step(tmp_path, job_id=0)).set_job_parameter("Events", 11)
    ModuleBase(step(tmp_path, step_ok=False)).set_application_status("after a failure")

    assert before == []
    assert lines(tmp_path) == [{"ApplicationStatus": "kept", "Parameters": {"Events": 10, "Files": 2}}]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x", Path("/x")), ("x", float("nan")), ("x", "caf\udce9"), ("x", [1]), ("x", None), ("x", {"a": 1}),
        ("x", "a\0b"), ("x\udce9", 1), (Path("x"), 1),
    ],
)  # fmt: skip
def test_a_parameter_that_is_none_fails_the_module(tmp_path: Path, name: Any, value: Any) -> None:
    """`execute` never raises for it: the module has failed, and says which parameter; others are reported."""

    class Telling(ModuleBase):
        def _execute(self) -> None:
            self.set_job_parameter("Events", 10)
            self.set_job_parameter(name, value)

    result = Telling(step(tmp_path)).execute()

    assert not result.ok
    assert repr(name) in result.message
    assert [line.get("Parameters") for line in lines(tmp_path)] == [{"Events": 10}, None]
    assert all(is_plain(line.get("ApplicationStatus")) for line in lines(tmp_path))


@pytest.mark.parametrize(
    ("file_mask", "step_mask", "names"),
    [
        ("", "", ["foo_1.txt", "bar_2.py"]),
        ([""], [""], ["foo_1.txt", "bar_2.py"]),
        ("txt", "", ["foo_1.txt"]),
        (["py", "dst"], "", ["bar_2.py"]),
        ("", "2", ["bar_2.py"]),
        ("", 1, ["foo_1.txt"]),
        (["txt"], ["2"], []),
    ],
)
def test_candidate_files(tmp_path: Path, file_mask: Any, step_mask: Any, names: list[str]) -> None:
    """Outputs that exist, by type and step, with storage element and LFN."""
    for each in OUTPUTS:
        (tmp_path / each["outputDataName"]).touch()
    module = ModuleBase(step(tmp_path))
    found = module.get_candidate_files([*OUTPUTS, {"outputDataName": "malformed"}], LFNS, file_mask, step_mask)

    assert list(found) == names
    assert all(about["lfn"].endswith(name) and about["workflowSE"] == "Tier1" for name, about in found.items())


def test_candidate_files_that_cannot_be_uploaded(tmp_path: Path) -> None:
    """An output that is not there is an OSError, one without LFN a ValueError (as in DIRAC)."""
    module = ModuleBase(step(tmp_path))
    with pytest.raises(OSError, match=r"foo_1\.txt"):
        module.get_candidate_files(OUTPUTS, LFNS, "", "")
    for each in OUTPUTS:
        (tmp_path / each["outputDataName"]).touch()
    with pytest.raises(ValueError, match=r"bar_2\.py \(lfn\)"):
        module.get_candidate_files(OUTPUTS, LFNS[:1], "", "")


@pytest.mark.parametrize(("well", "status"), [(True, "Processed"), (False, "Unused")])
def test_failover_request(tmp_path: Path, well: bool, status: str) -> None:
    """Input files are Processed, or Unused by force after a failure; what was said before stands; one file for all."""
    commons = {"InputData": "LFN:/local/a;LFN:/local/b;"}
    module = FailoverRequest(step(tmp_path, workflow_commons=commons, workflow_ok=well))
    module.file_report.set_file_status(7, "/local/b", "Problematic")
    file = RequestFile(lfn="/local/user/x/out", size_bytes=1, adler32="00000001", pfn="file:///se/local/user/x/out")
    module.operations.append(Operation(type=REGISTER_FILE, target_se="SE-USER", catalog="FileCatalog", files=(file,)))
    result = module.execute()
    request = parse_request((tmp_path / "7_3_request.json").read_bytes(), "7_3_request.json")
    register, report = request.operations

    assert result.ok is well
    assert (request.job_id, register.files[0]) == (12, file)
    assert {each["LFN"]: each["Status"] for each in report.arguments["Statuses"]} == {
        "/local/a": status, "/local/b": "Problematic",
    }  # fmt: skip
    assert (report.arguments["ProductionID"], report.arguments["Force"]) == (7, not well)
    assert [each["ApplicationStatus"] for each in lines(tmp_path)] == (
        ["Job Finished Successfully", "Workflow successful, end of FailoverRequest module execution."] if well else []
    )


def test_modules_of_a_workflow_share_one_request(tmp_path: Path) -> None:
    """Each module is a process of its own: what one has left is not lost to the next, stands before it, and what it
    said of a file stands; a module that writes twice writes its own part once."""
    first = ModuleBase(step(tmp_path))
    first.file_report.set_file_status(7, "/local/a", "Problematic")
    first.generate_failover_file()
    first.file_report.set_file_status(7, "/local/c", "Problematic")
    first.generate_failover_file()
    for name in ("/local/a", "/local/b"):
        assert FailoverRequest(step(tmp_path, workflow_commons={"InputData": name})).execute().ok
    (path,) = tmp_path.glob("*request*")
    operations = parse_request(path.read_bytes(), path.name).operations

    assert [[(each["LFN"], each["Status"]) for each in found.arguments["Statuses"]] for found in operations] == [
        [("/local/a", "Problematic"), ("/local/c", "Problematic")], [("/local/b", "Processed")],
    ]  # fmt: skip


@pytest.mark.parametrize("there", ["[", '{"JobID": 99, "Operations": [{"Type": "SetFileStatus"}]}', "{}"])
def test_what_is_not_of_this_job_is_replaced(tmp_path: Path, there: str) -> None:
    """A file of that name that is no request, or another job's, is no module's of this workflow."""
    (tmp_path / "7_3_request.json").write_text(there)
    module = FailoverRequest(step(tmp_path, workflow_commons={"InputData": "/local/a"}))
    assert module.execute().ok
    (operation,) = parse_request((tmp_path / "7_3_request.json").read_bytes(), "x").operations
    assert operation.arguments["Statuses"] == [{"LFN": "/local/a", "Status": "Processed"}]


def test_modules_at_once_lose_nothing(tmp_path: Path) -> None:
    """Modules that write at the same time wait for each other."""
    modules = [FailoverRequest(step(tmp_path, workflow_commons={"InputData": f"/local/{n}"})) for n in range(20)]
    threads = [threading.Thread(target=each.execute) for each in modules]
    for each in threads:
        each.start()
    for each in threads:
        each.join(30)
    found = parse_request((tmp_path / "7_3_request.json").read_bytes(), "x").operations
    assert {each.arguments["Statuses"][0]["LFN"] for each in found} == {f"/local/{number}" for number in range(20)}


def test_a_request_that_the_wrapper_would_not_read(tmp_path: Path) -> None:
    """What is too long together is a failure of the module that adds to it; what was there stays."""
    first = ModuleBase(step(tmp_path))
    first.file_report.set_file_status(7, "/local/a", "Problematic")
    path = first.generate_failover_file()
    assert path is not None
    before = path.read_bytes()
    second = ModuleBase(step(tmp_path))
    for number in range(1000):
        for production in range(6):
            second.file_report.set_file_status(production, f"/local/{'x' * 50}{number}", "Processed")
    with pytest.raises(RuntimeError, match="not valid"):
        second.generate_failover_file()
    assert path.read_bytes() == before


def test_failover_request_outside_a_job(tmp_path: Path) -> None:
    """By hand it does nothing, and that is no failure."""
    module = FailoverRequest(step(tmp_path, job_id=0, workflow_commons={"InputData": "/local/a"}))
    assert module.execute().ok
    assert list(tmp_path.iterdir()) == []


def test_a_report_that_cannot_be_written_goes_into_the_request(tmp_path: Path) -> None:
    """A job report that finds no disk becomes an operation of the request."""
    (tmp_path / "job_report.jsonl").mkdir()
    module = ModuleBase(step(tmp_path))
    module.set_job_parameter("Events", 10)
    path = module.generate_failover_file()
    assert path is not None
    (operation,) = parse_request(path.read_bytes(), path.name).operations
    assert operation.arguments == {"Call": "JobReport", "Parameters": {"Events": 10}}


def test_steps_and_modules_are_named(tmp_path: Path) -> None:
    """A step's file and a module's name that are wrong are told in words."""
    assert modules.load("FailoverRequest") is FailoverRequest
    with pytest.raises(ConfigError, match="known are FailoverRequest"):
        modules.load("Nothing")
    for text, message in (
        ("[", "not JSON"), ("[]", "not an object"), ('{"x": 1}', "not known"), ('{"step_ok": 1}', "true or false"),
        ('{"workflow_commons": {"PRODUCTION_ID": "x"}}', "PRODUCTION_ID"), ('{"step_commons": []}', "an object"),
    ):  # fmt: skip
        with pytest.raises(DescriptionError, match=message):
            modules.read_step(text, "step.json", folder=tmp_path, job_id=1)
