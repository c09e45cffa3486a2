"""The in-process computing element with real processes, warm and cold."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.computing.zygote_process import _fork_orphan
from telemetry.clock import SystemClock
from telemetry.measure.procfs import parents
from tests.support.element import DEADLINE_SECONDS, Element, element
from tests.support.processes import is_alive, look
from tests.support.waiting import eventually

REPORT = """
import json, os, signal, sys, threading
from pathlib import Path
from runner.computing import birth
fds = {}
for name in os.listdir("/proc/self/fd"):
    try:
        fds[name] = os.readlink(f"/proc/self/fd/{name}")
    except FileNotFoundError:
        pass
Path(sys.argv[0]).with_suffix(".json").write_text(json.dumps({
    "main": __name__, "argv": sys.argv, "fds": fds, "sid": os.getsid(0), "pid": os.getpid(), "ppid": os.getppid(),
    "int": repr(signal.getsignal(signal.SIGINT)), "term": repr(signal.getsignal(signal.SIGTERM)),
    "pipe": repr(signal.getsignal(signal.SIGPIPE)), "blocked": len(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
    "threads": threading.active_count(), "cwd": os.getcwd(), "born": birth.current().start_boottime_ns,
    "by": birth.current().started_by, "zstandard": "zstandard" in sys.modules, "isolated": sys.flags.isolated,
}))
print("said on stdout")
print("said on stderr", file=sys.stderr)
sys.exit(3)
"""


@pytest.fixture(params=["zygote", "interpreter"])
def both(request: pytest.FixtureRequest) -> Iterator[Element]:
    with element(request.param, "zstandard") as made:
        yield made


@pytest.fixture
def warm() -> Iterator[Element]:
    with element("zygote", "zstandard") as made:
        yield made


def write(folder: Path, text: str, name: str = "Wrapper_1") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def children_of(pid: int) -> list[int]:
    """Pids of the children of a process of one thread."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def serving(element: Element) -> tuple[int, int]:
    """The zygote and its spare, once there is one that has left the zygote's ways behind."""

    def both() -> tuple[int, int] | None:
        pids = {Path(f"/proc/{pid}/comm").read_text().strip(): pid for pid in element.ask("serving")}
        return (pids["jobspan-zygote"], pids["jobspan-spare"]) if "jobspan-spare" in pids else None

    return eventually(both, DEADLINE_SECONDS, "a zygote and a spare")


def test_a_wrapper_finds_the_same_world_warm_and_cold(both: Element, tmp_path: Path) -> None:
    """Own session, no foreign descriptor, default signals, output into its log, its folder as working directory; its
    exit code and its start are known."""
    script = write(tmp_path, REPORT)
    before = SystemClock().boottime_ns()
    end = both.run(script, tmp_path / "wrapper.log")
    seen: dict[str, Any] = json.loads((tmp_path / "Wrapper_1.json").read_text())
    assert (end["exit_code"], end["signal"]) == (3, None)
    assert seen["main"] == "__main__"
    assert seen["argv"] == [str(script)]
    assert seen["pid"] == seen["sid"] == end["pid"]
    assert seen["ppid"] == both.process.pid
    assert (seen["blocked"], seen["threads"], seen["isolated"]) == (0, 1, 1)
    assert "default_int_handler" in seen["int"]
    assert "SIG_DFL" in seen["term"]
    assert "SIG_IGN" in seen["pipe"]
    assert seen["cwd"] == str(tmp_path)
    log = str(tmp_path / "wrapper.log")
    held = {number: target for number, target in seen["fds"].items() if not target.startswith("/proc")}
    assert held == {"0": "/dev/null", "1": log, "2": log}
    assert sorted((tmp_path / "wrapper.log").read_text().split("\n")) == ["", "said on stderr", "said on stdout"]
    assert (tmp_path / "wrapper.log").stat().st_mode & 0o777 == 0o600
    assert before - 20_000_000 < seen["born"] < end["end_boottime_ns"]
    assert end["user_cpu_seconds"] + end["system_cpu_seconds"] > 0


def test_a_warm_wrapper_heeds_what_the_parent_of_the_agent_ignores(tmp_path: Path) -> None:
    """A spare and a wrapper made on demand have the signals of a fresh interpreter, as after `nohup` and in a shell's
    background too."""
    script = write(tmp_path, REPORT)
    ignored = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for spawner in ("zygote", "early zygote"):
        with element(spawner, ignored=ignored) as made:
            made.run(script, tmp_path / "wrapper.log")
        seen: dict[str, Any] = json.loads((tmp_path / "Wrapper_1.json").read_text())
        assert (seen["by"], seen["blocked"]) == ("zygote", 0)
        assert "default_int_handler" in seen["int"]
        assert "SIG_DFL" in seen["term"]
        assert "SIG_IGN" in seen["pipe"]


def test_a_warm_start_has_its_imports(warm: Element, tmp_path: Path) -> None:
    """What the zygote has loaded is there, and the wrapper says by whom it was started."""
    warm.run(write(tmp_path, REPORT), tmp_path / "log")
    seen = json.loads((tmp_path / "Wrapper_1.json").read_text())
    assert seen["zstandard"]
    assert seen["by"] == "zygote"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("pass", 0),
        ("import sys; sys.exit('words')", 1),
        ("raise ValueError('x')", 1),
        ("import sys; sys.exit(4)", 4),
        ("import atexit, os; atexit.register(os._exit, 9)", 9),
        ("import threading; threading.Timer(0.05, lambda: open('late', 'w')).start()", 0),
        ("this is no python", 1),
    ],
)
def test_exit_codes_are_those_of_an_interpreter(tmp_path: Path, text: str, code: int) -> None:
    """However a script ends, warm and cold starts end alike, exit handlers and other threads included."""
    for kind in ("zygote", "interpreter"):
        folder = tmp_path / kind
        folder.mkdir()
        with element(kind) as made:
            assert made.run(write(folder, text), folder / "log")["exit_code"] == code
        assert (folder / "late").exists() == ("late" in text)


def test_a_wrapper_that_is_killed_is_seen_as_such(both: Element, tmp_path: Path) -> None:
    """The signal that ended it is told; its slot is free again."""
    both.ask("submit", script=str(write(tmp_path, "import signal; signal.pause()")), log=str(tmp_path / "log"))
    assert both.ask("free") == 1
    both.ask("signal", number=int(signal.SIGKILL))
    (end,) = both.ask("wait")
    assert (end["exit_code"], end["signal"]) == (None, int(signal.SIGKILL))
    assert both.ask("free") == 2


def test_a_spare_becomes_the_next_wrapper(warm: Element, tmp_path: Path) -> None:
    """A process that was made ahead is no orphan while it waits; it runs the next script, as the agent's own child, and
    its time begins when it is given that."""
    script = write(tmp_path, REPORT)
    for _ in range(2):
        _, spare = serving(warm)
        assert warm.ask("strays") == 0
        assert warm.ask("free") == 2
        before = SystemClock().boottime_ns()
        end = warm.run(script, tmp_path / "log")
        seen = json.loads((tmp_path / "Wrapper_1.json").read_text())
        assert (seen["pid"], end["pid"], end["exit_code"]) == (spare, spare, 3)
        assert seen["born"] >= before


def test_a_spare_that_is_there_before_the_agent_is_ready_is_its_child(tmp_path: Path) -> None:
    """An agent with many old jobs takes longer to begin than its zygote; the wrapper's end is told all the same."""
    with element("early zygote") as made:
        end = made.run(write(tmp_path, REPORT), tmp_path / "log")
        seen = json.loads((tmp_path / "Wrapper_1.json").read_text())
        assert (end["exit_code"], seen["ppid"]) == (3, made.process.pid)


def test_a_spare_has_forked_its_starter(tmp_path: Path) -> None:
    """A start waits for no fork of the starter either; a spare that gets no job takes it along."""
    with element("zygote", "runner.compose.wrapper") as made:
        _, spare = serving(made)
        (starter,) = eventually(lambda: children_of(spare))
        eventually(lambda: Path(f"/proc/{starter}/comm").read_text() == "jobspan-starter\n")
        assert made.ask("strays") == 0
    eventually(lambda: not is_alive(spare) and not is_alive(starter), what="the end of the spare and its starter")


def test_a_starter_ends_with_a_spare_that_is_killed(tmp_path: Path) -> None:
    """Nothing is left of the starter, no zombie of the agent's either; the spare is waited for with the next start."""
    with element("zygote", "runner.compose.wrapper") as made:
        _, spare = serving(made)
        (starter,) = eventually(lambda: children_of(spare))
        assert is_alive(starter)
        os.kill(spare, signal.SIGKILL)
        eventually(lambda: made.ask("strays") == 0 and look(starter) is None, what="the end of the starter")
        assert not is_alive(spare)
        zombies = {pid for pid in children_of(made.process.pid) if not is_alive(pid)}
        assert zombies <= {spare}


def test_a_spare_that_dies_costs_nothing(warm: Element, tmp_path: Path) -> None:
    """The next wrapper is forked instead, and no zombie is left of the other."""
    _, spare = serving(warm)
    os.kill(spare, signal.SIGKILL)
    eventually(lambda: not is_alive(spare))
    assert warm.run(write(tmp_path, REPORT), tmp_path / "log")["exit_code"] == 3
    seen = json.loads((tmp_path / "Wrapper_1.json").read_text())
    assert (seen["by"], seen["pid"] == spare) == ("zygote", False)
    serving(warm)
    eventually(lambda: warm.ask("strays") == 0 and look(spare) is None)


def test_without_a_zygote_all_goes_on(warm: Element, tmp_path: Path) -> None:
    """When the zygote dies, running wrappers are not touched, the next one starts cold, the one after it warm again."""
    pause = write(tmp_path, "import signal; signal.pause()", "Wrapper_9")
    running = warm.ask("submit", script=str(pause), log=str(tmp_path / "log9"))
    zygote, _ = serving(warm)
    os.kill(zygote, signal.SIGKILL)
    eventually(lambda: not is_alive(zygote))
    script = write(tmp_path, REPORT)
    for expected in ("interpreter", "zygote"):
        assert warm.run(script, tmp_path / "log")["exit_code"] == 3
        assert json.loads((tmp_path / "Wrapper_1.json").read_text())["by"] == expected
    assert is_alive(running["pid"])
    warm.ask("signal", number=int(signal.SIGKILL))
    warm.ask("wait")


def test_a_module_that_cannot_be_loaded_means_cold_starts(tmp_path: Path) -> None:
    """A preload that fails, or that starts a thread, costs the warmth and nothing else."""
    with element("zygote", "no_such_module_anywhere") as made:
        for _ in range(4):
            assert made.run(write(tmp_path, REPORT), tmp_path / "log")["exit_code"] == 3
    assert json.loads((tmp_path / "Wrapper_1.json").read_text())["by"] == "interpreter"


def test_orphans_are_reaped(both: Element, tmp_path: Path) -> None:
    """What a wrapper has left behind comes to the agent, is counted while it lives, and leaves no zombie."""
    script = write(
        tmp_path,
        "import os, signal\n"
        "reader, writer = os.pipe()\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    open('orphan', 'w').write(str(os.getpid()))\n"
        "    os.write(writer, b'x')\n"
        "    signal.pause()\n"
        "os.read(reader, 1)\n",
    )
    both.run(script, tmp_path / "log")
    orphan = int((tmp_path / "orphan").read_text())
    assert both.ask("strays") == 1
    os.kill(orphan, signal.SIGKILL)
    eventually(lambda: both.ask("strays") == 0)
    assert look(orphan) is None


def test_the_zygote_ends_with_the_agent(tmp_path: Path) -> None:
    """Also when the agent is killed; a running wrapper is left to the next agent."""
    with element("zygote") as made:
        script = write(tmp_path, "import signal; signal.pause()")
        running = made.ask("submit", script=str(script), log=str(tmp_path / "log"))
        zygote, spare = serving(made)
        made.process.kill()
        made.process.wait()
        eventually(lambda: not is_alive(zygote) and not is_alive(spare))
        assert is_alive(running["pid"])
        os.kill(running["pid"], signal.SIGKILL)
        eventually(lambda: not is_alive(running["pid"]))


def test_a_spare_is_announced_before_it_is_the_agents_child() -> None:
    """Whoever looks for orphans among the agent's children knows it by then: it is no orphan of a payload's."""
    found: list[tuple[int, int]] = []

    def announce(pid: int) -> None:
        middle = parents()[pid]
        found.append((pid, parents()[middle]))

    pid = _fork_orphan(lambda: os._exit(0), announce)
    assert found == [(pid, os.getpid())], "its parent is still the process between, whose parent we are"
