"""Control groups as captured trees: plain files of a folder, for the controllers that a machine may not have."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from telemetry.facts import UsageSettled
from telemetry.measure.cgroup import ControlGroup
from telemetry.measure.cgroup1 import ControllerGroups, _limits_below
from telemetry.measure.files import KernelFiles, named_number
from telemetry.measure.hybrid import HybridGroups, joined
from telemetry.measure.left_behind import reopen
from telemetry.measure.meter import GroupMeter, Wait4Meter
from telemetry.measure.naming import NODE_METHODS, sample_methods
from telemetry.measure.peaks import with_peaks
from telemetry.measure.snapshot import NOTHING_USED, Cpu, GroupAccount, Methods, Peaks, Pressure
from telemetry.measure.tree import TreeState, with_sums
from telemetry.measure.walker import TreeWalker

VERSION_2 = {
    "cpu.stat": "usage_usec 3500000\nuser_usec 3000000\nsystem_usec 500000\nnice_usec 0\nnr_periods 0\n",
    "memory.current": "90000000\n",
    "memory.peak": "123456789\n",
    "memory.stat": "anon 40960\nfile 1000000\nkernel 70000\nanon_thp 0\nfile_mapped 8192\npgfault 120\npgmajfault 20\n",
    "memory.swap.current": "4096\n",
    "memory.swap.peak": "8192\n",
    "pids.current": "7\n",
    "pids.peak": "9\n",
    "io.stat": "8:16 rbytes=1000 wbytes=200 rios=3 wios=4 dbytes=9 dios=1\n8:0 rbytes=24 wbytes=56 rios=1 wios=1\n",
    "cgroup.procs": "999999901\n999999902\n999999903\n",
    "cgroup.threads": "999999901\n999999902\n999999903\n999999904\n",
    "cpu.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=1500000\nfull avg10=0.00 total=10\n",
    "memory.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 total=0\n",
    "io.pressure": "some avg10=1.25 avg60=0.00 avg300=0.00 total=250000\nfull avg10=0.00 total=0\n",
}
WHOLE = GroupAccount(
    cpu_seconds=3.5,
    cpu_share=Cpu(3.0, 0.5),
    rss_bytes=49152,
    swap_bytes=4096,
    threads=7,
    read_bytes=1024,
    written_bytes=256,
    minor_faults=100,
    major_faults=20,
)
PEAKS = Peaks(memory_bytes=123456789, swap_bytes=8192, threads=9)


def captured(folder: Path, files: dict[str, str], *, without: tuple[str, ...] = ()) -> Path:
    """*files* in *folder*, but for those whose names begin like one of *without*."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        if not name.startswith(without or ("\0",)):
            (folder / name).write_text(content)
    return folder


def test_a_group_with_every_controller(tmp_path: Path) -> None:
    """Each quantity is read from its own file of version 2."""
    group = ControlGroup(captured(tmp_path, VERSION_2))
    assert group.account() == WHOLE
    assert group.pressure() == Pressure(cpu_seconds=1.5, memory_seconds=0.0, io_seconds=0.25)
    assert (group.count(), group.pids()) == (3, [999999901, 999999902, 999999903])
    (tmp_path / "pids.current").write_text("8\n")
    assert group.account().threads == 8


@pytest.mark.parametrize(
    ("without", "missing"),
    [
        (("memory",), {"rss_bytes", "swap_bytes", "minor_faults", "major_faults"}),
        (("memory.swap",), {"swap_bytes"}),
        (("pids", "cgroup.threads"), {"threads"}),
        (("io",), {"read_bytes", "written_bytes"}),
    ],
)
def test_a_controller_that_is_not_there_is_not_told(
    tmp_path: Path, without: tuple[str, ...], missing: set[str]
) -> None:
    """Each file is used only where it is; the others do not suffer."""
    account = ControlGroup(captured(tmp_path, VERSION_2, without=without)).account()
    assert account == WHOLE._replace(**dict.fromkeys(missing))


@pytest.mark.parametrize(
    ("without", "missing"),
    [
        ((), set()),
        (("memory",), {"memory_bytes", "swap_bytes"}),
        (("memory.peak",), {"memory_bytes"}),  # before Linux 5.19
        (("memory.swap.peak",), {"swap_bytes"}),  # before Linux 6.5
        (("pids.peak",), {"threads"}),  # before Linux 6.1
    ],
)
def test_each_peak_has_a_file_of_its_own(tmp_path: Path, without: tuple[str, ...], missing: set[str]) -> None:
    """The kernel's peaks are told where their files are, and only those."""
    peaks = ControlGroup(captured(tmp_path, VERSION_2, without=without)).peaks()
    assert peaks == PEAKS._replace(**dict.fromkeys(missing))


def test_peaks_are_read_when_they_are_asked_for(tmp_path: Path) -> None:
    """A lean sample spares them: it has those of the last look that was not, whatever the files say by now."""
    meter = GroupMeter(ControlGroup(captured(tmp_path, VERSION_2)))
    state = TreeState(processors=2)
    assert meter.read(state, is_lean=True).peaks == Peaks()
    assert (meter.read(state).peaks, meter.read(state).methods.peak_memory) == (PEAKS, "cgroup2")
    (tmp_path / "memory.swap.peak").write_text("9000\n")
    assert meter.read(state, is_lean=True).peaks == PEAKS
    assert meter.read(state).peaks.swap_bytes == 9000


BY_VERSION_2 = Methods(
    cpu="cgroup2", memory="cgroup2", swap="cgroup2", processes="cgroup2", threads="cgroup2", io="members",
    faults="cgroup2", switches="walk", pressure="cgroup2", peak_memory="cgroup2", peak_threads="cgroup2",
)  # fmt: skip


def settled(**known: Any) -> UsageSettled:
    """An account without peaks."""
    return UsageSettled(
        cpu_user_seconds=1.0,
        cpu_system_seconds=0.0,
        cpu_method="cgroup2",
        cpu_uncertainty_seconds=0.0,
        orphan_cpu_seconds=0.0,
        peak_rss_bytes=5,
        memory_method="sampled",
        **known,
    )


@pytest.mark.parametrize(
    ("peaks", "seen", "expected"),
    [
        (PEAKS, (1, 1), {"peak_cgroup_memory_bytes": 123456789, "memory_method": "cgroup2", "peak_swap_bytes": 8192,
                         "swap_method": "cgroup2", "peak_threads": 9, "threads_method": "cgroup2"}),
        (Peaks(memory_swap_bytes=7), (4, 3), {"peak_memory_swap_bytes": 7, "peak_swap_bytes": 4, "peak_threads": 3,
                                              "swap_method": "sampled", "threads_method": "sampled"}),
        (Peaks(swap_bytes=0), (0, 0), {"peak_swap_bytes": 0, "swap_method": "cgroup2"}),
        (Peaks(), (0, 0), {}),
    ],
)  # fmt: skip
def test_a_peak_names_who_has_told_it(peaks: Peaks, seen: tuple[int, int], expected: dict[str, Any]) -> None:
    """The kernel's peak is exact, the most that was seen is a lower bound, and what nobody saw is not told."""
    found = with_peaks(settled(), peaks, BY_VERSION_2, seen_swap_bytes=seen[0], seen_threads=seen[1])
    assert replace(found, methods={}) == replace(settled(), **expected)
    told = {"peak_memory": "peak_cgroup_memory_bytes", "peak_swap": "peak_swap_bytes", "peak_threads": "peak_threads"}
    assert {*found.methods} & {*told} == {name for name, value in told.items() if value in expected}


def test_an_account_names_who_measured_each_quantity() -> None:
    """One mapping for the record: each figure that is told with its method, none for what nobody tells."""
    account = settled(io_method="members", peak_pss_bytes=5, cpu_pressure_seconds=0.5, oom_kills=0)
    found = with_peaks(account, PEAKS, BY_VERSION_2, seen_swap_bytes=0, seen_threads=0)
    assert found.methods == {
        "cpu": "cgroup2", "peak_rss": "sampled", "peak_pss": "sampled", "peak_memory": "cgroup2",
        "peak_swap": "cgroup2", "peak_threads": "cgroup2", "processes": "sampled", "io": "members",
        "faults": "cgroup2", "switches": "walk", "pressure": "cgroup2", "oom_kills": "cgroup2",
    }  # fmt: skip
    bare = with_peaks(settled(), Peaks(), Methods(faults="walk"), seen_swap_bytes=0, seen_threads=0)
    assert bare.methods == {"cpu": "cgroup2", "peak_rss": "sampled", "processes": "sampled", "faults": "walk"}


def test_a_sample_names_who_measured_each_quantity(tmp_path: Path) -> None:
    """By a group each of its controllers, and looks for the rest; without a group all but CPU is looked at; of the node
    and of clocks it is always the same. What nobody tells has no method."""
    assert sample_methods(NOTHING_USED) == NODE_METHODS
    state = TreeState(processors=2)
    whole = GroupMeter(ControlGroup(captured(tmp_path, VERSION_2))).read(state)
    kept = {"peak_memory": "cgroup2", "peak_swap": "cgroup2", "peak_threads": "cgroup2"}
    told = {"cpu", "memory", "swap", "processes", "threads", "io", "faults"}
    assert sample_methods(whole) == {**NODE_METHODS, **dict.fromkeys(told, "cgroup2"), "switches": "walk", **kept}
    pressed = whole._replace(memory_pressure_seconds=0.0, pss_bytes=7)
    assert sample_methods(pressed) == {**sample_methods(whole), "pressure": "cgroup2", "pss": "walk"}
    looked = sample_methods(Wait4Meter().read(state))
    assert looked == {**NODE_METHODS, **dict.fromkeys(told | {"switches"}, "walk"), "cpu": "wait4"}


def test_threads_without_the_pids_controller(tmp_path: Path) -> None:
    """They are counted by their list."""
    assert ControlGroup(captured(tmp_path, VERSION_2, without=("pids",))).account().threads == 4


def test_pressure_that_is_not_kept_is_not_told(tmp_path: Path) -> None:
    """A kernel without pressure stall information costs nothing but these figures."""
    group = ControlGroup(captured(tmp_path, VERSION_2, without=("cpu.p", "memory.p", "io.p")))
    assert group.pressure() == Pressure()


def test_a_group_that_is_gone_is_an_error(tmp_path: Path) -> None:
    """CPU is never made up."""
    with pytest.raises(OSError, match=r"does not tell its CPU"):
        ControlGroup(tmp_path).account()


def read(meter: GroupMeter) -> tuple[object, ...]:
    """One lean sample: the methods and figures of memory, processes and I/O."""
    sums = meter.sums(TreeWalker(1))
    assert sums is not None
    reading = meter.read(with_sums(TreeState(processors=2), sums, ()))
    assert reading.cpu_uncertainty_seconds == 0.0
    return (
        (reading.methods.cpu, reading.methods.memory, reading.methods.processes, reading.methods.io),
        (reading.rss_bytes, reading.processes, reading.threads, reading.read_bytes, reading.written_bytes),
    )


def test_methods_are_chosen_for_each_quantity(tmp_path: Path) -> None:
    """What a controller tells has its name; what none tells is summed up over the members, and says so."""
    whole = GroupMeter(ControlGroup(captured(tmp_path / "a", VERSION_2)))
    assert read(whole) == (("cgroup2",) * 4, (49152, 3, 7, 1024, 256))
    bare = GroupMeter(ControlGroup(captured(tmp_path / "b", VERSION_2, without=("memory", "io"))))
    # (The listed processes are nobody's.)
    assert read(bare) == (("cgroup2", "members", "cgroup2", "members"), (0, 0, 7, 0, 0))
    half = GroupMeter(ControlGroup(captured(tmp_path / "c", VERSION_2, without=("io",))))
    assert read(half)[0] == ("cgroup2", "cgroup2", "cgroup2", "members")


def test_a_group_s_cpu_never_falls(tmp_path: Path) -> None:
    """Whatever the kernel shows for a moment."""
    meter = GroupMeter(ControlGroup(captured(tmp_path, VERSION_2)))
    before = meter.read(TreeState(processors=2)).cpu
    (tmp_path / "cpu.stat").write_text("usage_usec 5\nuser_usec 3\nsystem_usec 2\n")
    assert meter.read(TreeState(processors=2)).cpu == before


VERSION_1 = {
    "cpuacct": {
        "cpuacct.usage": "3500000000\n",
        "cpuacct.stat": "user 290\nsystem 60\n",
        "cgroup.procs": "999999901\n",
    },
    "memory": {
        "memory.max_usage_in_bytes": "77777\n",
        "memory.memsw.max_usage_in_bytes": "88888\n",
        "memory.stat": "cache 5\nrss 1\ntotal_cache 5\ntotal_rss 4096\ntotal_mapped_file 8192\ntotal_swap 512\n"
        "total_pgfault 30\ntotal_pgmajfault 10\n",
        "cgroup.procs": "999999901\n",
    },
    "pids": {"pids.current": "4\n", "pids.peak": "6\n", "cgroup.procs": "999999901\n"},
}


def version_1(folder: Path, *controllers: str) -> ControllerGroups:
    """Groups of these controllers as files."""
    made = {name: ControlGroup(captured(folder / name, VERSION_1[name]), has_live_lists=False) for name in controllers}
    return ControllerGroups(made["cpuacct"], made.get("memory"), made.get("pids"))


def test_groups_of_version_1(tmp_path: Path) -> None:
    """CPU by cpuacct, memory and swap by memory, threads by pids; what is written later no controller sees."""
    groups = version_1(tmp_path, "cpuacct", "memory", "pids")
    assert groups.account() == GroupAccount(
        cpu_seconds=3.5,
        cpu_share=Cpu(2.9, 0.6),
        rss_bytes=12288,
        swap_bytes=512,
        threads=4,
        minor_faults=20,
        major_faults=10,
    )
    assert read(GroupMeter(groups))[0] == ("cgroup1", "cgroup1", "cgroup1", "members")
    assert groups.peaks() == Peaks(memory_bytes=77777, memory_swap_bytes=88888, threads=6)


def test_cpuacct_alone(tmp_path: Path) -> None:
    """The other controllers of version 1 may be missing."""
    groups = version_1(tmp_path, "cpuacct")
    assert groups.account() == GroupAccount(cpu_seconds=3.5, cpu_share=Cpu(2.9, 0.6))
    assert groups.peaks() == Peaks()
    assert not groups.can_kill
    # What no controller tells is as the last walk has seen it, and says so.
    meter = GroupMeter(groups)
    sums = meter.sums(TreeWalker(1))
    assert sums is not None
    reading = meter.read(with_sums(TreeState(processors=2, threads=5), sums, ()))
    assert (reading.threads, reading.methods.threads, reading.methods.memory) == (5, "walk", "members")


def hybrid(folder: Path, *of_version_1: str) -> ControlGroup | HybridGroups:
    """A group of version 2 without the controllers that version 1 has, as files."""
    unified = captured(folder / "jobspan-2", {**VERSION_2, "cgroup.controllers": "cpu io\n"}, without=of_version_1)
    (unified / "memory.pressure").write_text(VERSION_2["memory.pressure"])  # needs no controller
    made = {
        name: ControlGroup(captured(folder / f"jobspan-{name}", VERSION_1[name]), has_live_lists=False)
        for name in of_version_1
    }
    return joined(ControlGroup(unified), made)


def test_version_1_beside_version_2(tmp_path: Path) -> None:
    """CPU and I/O by version 2, memory and threads with their peaks by version 1, nothing by looks; each is named."""
    groups = hybrid(tmp_path, "memory", "pids")
    told = {"rss_bytes": 12288, "swap_bytes": 512, "threads": 4, "minor_faults": 20, "major_faults": 10}
    assert groups.account() == WHOLE._replace(**told)
    assert groups.peaks() == Peaks(memory_bytes=77777, memory_swap_bytes=88888, threads=6)
    assert groups.pressure() == Pressure(cpu_seconds=1.5, memory_seconds=0.0, io_seconds=0.25)
    assert (groups.count(), groups.pids()) == (3, [999999901, 999999902, 999999903])
    meter = GroupMeter(groups)
    methods, figures = read(meter)
    assert (methods, figures) == (("cgroup2", "cgroup1", "cgroup2", "cgroup2"), (12288, 3, 4, 1024, 256))
    reading = meter.read(TreeState(processors=2))
    assert {reading.methods.swap, reading.methods.threads, reading.methods.faults} == {"cgroup1"}
    assert {reading.methods.peak_memory, reading.methods.peak_threads} == {"cgroup1"}
    assert reading.methods.pressure == meter.method == "cgroup2"


def test_each_controller_is_taken_where_it_is(tmp_path: Path) -> None:
    """Memory by one version, threads by the other; with all controllers in version 2 there is nothing beside it."""
    groups = hybrid(tmp_path, "memory")
    assert groups.account()[2:5] == (12288, 512, 7)
    assert groups.peaks() == Peaks(memory_bytes=77777, memory_swap_bytes=88888, threads=9)
    assert groups.tellers == ("cgroup2", "cgroup1", "cgroup2")
    assert hybrid(tmp_path / "pids", "pids").tellers == ("cgroup2", "cgroup2", "cgroup1")
    assert isinstance(hybrid(tmp_path / "whole"), ControlGroup)


@pytest.mark.parametrize("controllers", [(), ("memory",), ("memory", "pids")])
def test_groups_of_both_versions_are_found_again(tmp_path: Path, controllers: tuple[str, ...]) -> None:
    """By their paths alone, whatever their order: whoever recovers reads what the dead starter would have read."""
    groups = hybrid(tmp_path, *controllers)
    (tmp_path / "other").mkdir()
    found = reopen([tmp_path / "other", tmp_path / "jobspan-gone", *reversed(groups.paths)])
    assert found == groups
    assert found.account() == groups.account()


def test_lists_longer_than_a_page_are_counted_in_whole(tmp_path: Path) -> None:
    """The kernel gives a long list in parts."""
    (tmp_path / "list").write_text("1234567\n" * 5000)
    assert KernelFiles(tmp_path).lines("list") == 5000
    assert KernelFiles(tmp_path).lines("none") is None


def test_numbers_that_are_none(tmp_path: Path) -> None:
    """ "max" is no number, nor is what is not there; a name is found at the beginning of a line only."""
    (tmp_path / "limit").write_text("max\n")
    files = KernelFiles(tmp_path)
    assert (files.number("limit"), files.number("none")) == (None, None)
    assert named_number(b"inactive_anon 5\nanon 6", b"anon") == 6
    assert named_number(b"inactive_anon 5\n", b"anon") is None
    files.close()
    files.close()


@pytest.mark.parametrize(("hierarchy", "expected"), [("1\n", True), ("0\n", False), (None, True)])
def test_no_payload_escapes_from_the_limit_above(tmp_path: Path, hierarchy: str | None, expected: bool) -> None:
    """Before Linux 5.11 a memory group may limit only its own processes: then none is made below it."""
    captured(tmp_path, {} if hierarchy is None else {"memory.use_hierarchy": hierarchy})
    assert _limits_below(tmp_path) is expected
