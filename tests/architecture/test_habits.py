"""Habits that a linter knows only in part: waits, fakes, the environment, traces of the author's machine."""

import ast
import re
from pathlib import Path

import pytest

from tests.support.tree import ROOT, files, modules, name, parse

TEXT = {".py", ".md", ".toml", ".lock", ".json", ".yml", ".yaml", ".jdl", ".txt", ""}


def calls(path: Path) -> set[str]:
    """Dotted names of everything that a module mentions, such as `time.sleep`."""
    return {ast.unparse(node) for node in ast.walk(parse(path)) if isinstance(node, ast.Attribute)}


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.update({node.module, *(f"{node.module}.{alias.name}" for alias in node.names)})
    return found


@pytest.mark.parametrize("forbidden", ["os.environ", "os.environb", "os.getenv", "os.putenv"])
def test_only_config_reads_the_environment(forbidden: str) -> None:
    """Configuration is read once, in runner/config.py, whatever a noqa says."""
    users = {name(path) for path in modules() if forbidden in calls(path) | imports(path)}
    assert users <= {"runner/config.py"}


def test_nobody_sleeps() -> None:
    """Product, tests and demo payloads wait on events, descriptors or work, never for time to pass."""
    sleepers = [
        name(path)
        for path in modules("runner", "telemetry", "dashboards", "tests")
        if "time.sleep" in calls(path) | imports(path) or "asyncio.sleep" in calls(path)
    ]
    assert sleepers == []


def test_no_mocks() -> None:
    """Tests use the real thing or a fake of tests/support, never a mock."""
    users = [name(path) for path in modules("tests") if any("mock" in each.split(".") for each in imports(path))]
    assert users == []


def test_wall_clock_is_read_in_one_place() -> None:
    """Timestamps and durations come from telemetry.clock, so that a test can move the time."""
    clocks = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.datetime.now"}
    assert [name(path) for path in modules() if clocks & (calls(path) | imports(path))] == ["telemetry/clock.py"]


def is_broad(handler: ast.ExceptHandler) -> bool:
    """Whether it catches everything and keeps it (cleaning up and raising again is fine)."""
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    broad = any(kind is None or ast.unparse(kind) in ("Exception", "BaseException") for kind in kinds)
    return broad and not isinstance(handler.body[-1], ast.Raise)


def test_broad_excepts_have_a_reason() -> None:
    """Whoever catches everything says why, on the same line."""
    bare = [
        f"{name(path)}:{node.lineno}"
        for path in modules()
        for node in ast.walk(parse(path))
        if isinstance(node, ast.ExceptHandler) and is_broad(node)
        if not re.search(r"# noqa: BLE001 - \w+", path.read_text().splitlines()[node.lineno - 1])
    ]
    assert bare == []


def test_sessions_ignore_the_environment() -> None:
    """Every requests session has trust_env off: a .netrc entry would replace our bearer tokens."""
    makers = [path for path in modules() if "requests.Session()" in path.read_text()]
    assert [name(path) for path in makers if "trust_env = False" not in path.read_text()] == []


def test_nothing_is_left_for_later() -> None:
    """No marker of unfinished work stands in the product."""
    marks = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|X" + r"XX|HA" + r"CK)\b")
    found = [
        f"{name(path)}:{number}"
        for path in modules()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if marks.search(line)
    ]
    assert found == []


def test_no_trace_of_a_machine() -> None:
    """No absolute path of somebody's home or checkout stands in the tree."""
    places = re.compile(r"(?<![\w.}>*)/-])/(?:work|root|Users|home(?!/alice))/\w")
    found = [
        f"{name(path)}:{number}: {line.strip()[:100]}"
        for path in files()
        if path.suffix in TEXT and path.name != "LICENSE"
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if places.search(line)
    ]
    assert found == []


def test_lock_names_versions_only() -> None:
    """The lock is one pinned name a line: no host, no path, no hash of one machine's wheel."""
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"#.*|[\w.-]+==[\w.!+-]+", line)] == []


def test_every_test_states_its_promise() -> None:
    """Each test has a docstring: the sentence that it keeps true."""
    missing = [
        f"{name(path)}: {node.name}"
        for path in modules("tests")
        for node in ast.walk(parse(path))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and not ast.get_docstring(node)
    ]
    assert missing == []


def waits(path: Path) -> set[str]:
    """How a module waits for processes."""
    return {f"os.{each}" for each in ("wait", "wait3", "wait4", "waitid", "waitpid")} & calls(path)


def test_only_the_starter_waits_for_the_payloads_processes() -> None:
    """A wait for any child belongs to the starter alone: beside `subprocess` it would make exit 3 look like 0."""
    everybody = [
        name(path)
        for path in modules()
        for known in [waits(path)]  # once a module: it reads all of it
        for node in ast.walk(parse(path))
        if known and isinstance(node, ast.Call) and ast.unparse(node.func) in known
        if not node.args or ast.unparse(node.args[0]) in ("-1", "os.P_ALL", "0")
    ]
    assert everybody == ["runner/process/tree.py"]
    waiting = {name(path) for path in modules() if waits(path) and name(path).startswith("runner/process/")}
    assert waiting == {
        "runner/process/tree.py",  # the starter's
        "runner/process/keeper.py",  # the starter's, for a child that has not become a payload
        "runner/process/candidate.py",  # the same, for one that never had the word
        "runner/process/starter.py",  # the wrapper's, for the starter itself, by its pid
    }


def test_wrapper_and_starter_start_nothing_else() -> None:
    """Nothing beside the starter makes children in a wrapper's process, so that nobody reaps another's."""
    rooms = ("runner/process/", "runner/wrapper/", "runner/data/", "runner/wms/", "telemetry/")
    users = [
        name(path)
        for path in modules()
        if name(path).startswith(rooms)
        if imports(path) & {"subprocess", "multiprocessing"} or calls(path) & {"os.system", "os.popen"}
    ]
    assert users == []


def test_no_payload_depends_on_a_thread_of_its_parent() -> None:
    """PR_SET_PDEATHSIG means the thread that forked: only the programs of a site use it, from their main thread."""
    users = [name(path) for path in modules() if "PDEATHSIG" in path.read_text()]
    callers = [name(path) for path in modules() if "linux.end_with_parent" in calls(path) | imports(path)]
    importers = [name(path) for path in modules() if "runner.process.linux.end_with_parent" in imports(path)]
    assert users == ["runner/process/linux.py"]
    assert {*callers, *importers} <= {"runner/commands/context.py"}
