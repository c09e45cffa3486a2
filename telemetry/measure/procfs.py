"""Reading processes from `/proc`: I/O only, every reader copes with a process that vanishes under it."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from telemetry.measure.snapshot import Cpu, DeepLook, ProcessId, ProcessLook

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
#: Bit of SIGCHLD in a signal mask.
_SIGCHLD_BIT = 1 << (17 - 1)
#: PF_FORKNOEXEC: forked, and has not executed a program of its own yet.
_FORKED_ONLY = 0x40
#: A walk that finds new processes is repeated; a fork bomb must not hold it for ever.
_WALKS = 10


def look(pid: int, *, with_bytes: bool = True) -> ProcessLook | None:
    """The process *pid* as it is now, zombie or not; None when there is none.

    *with_bytes* asks for bytes read and written too, which only its owner and root may see.
    """
    data = _read(f"/proc/{pid}/stat")
    if not data:
        return None
    return parse_stat(pid, data, *(parse_io(_read(f"/proc/{pid}/io")) if with_bytes else (0, 0)))


def parse_stat(pid: int, data: bytes, read_bytes: int = 0, written_bytes: int = 0) -> ProcessLook:
    """The content of `/proc/<pid>/stat` (proc(5)) as a look."""
    fields = _fields(data)
    return ProcessLook(
        identity=ProcessId(pid, int(fields[19])),
        parent_pid=int(fields[1]),
        state=fields[0].decode(),
        own=Cpu(int(fields[11]) / TICKS_PER_SECOND, int(fields[12]) / TICKS_PER_SECOND),
        waited=Cpu(int(fields[13]) / TICKS_PER_SECOND, int(fields[14]) / TICKS_PER_SECOND),
        threads=int(fields[17]),
        vsize_bytes=int(fields[20]),
        rss_bytes=int(fields[21]) * PAGE_BYTES,
        read_bytes=read_bytes,
        written_bytes=written_bytes,
        minor_faults=int(fields[7]) + int(fields[8]),
        major_faults=int(fields[9]) + int(fields[10]),
        ignores_children=bool(int(fields[30]) & _SIGCHLD_BIT),
    )


def parse_io(data: bytes) -> tuple[int, int]:
    """Bytes that really went from and to storage, by `/proc/<pid>/io`; 0 where we may not look."""
    read_at = data.find(b"read_bytes: ")
    written_at = data.find(b"\nwrite_bytes: ")
    if read_at < 0 or written_at < 0:
        return 0, 0
    return int(data[read_at + 12 : written_at]), int(data[written_at + 14 : data.index(b"\n", written_at + 14)])


def deep_look(pids: Iterable[int], *, with_pss: bool) -> DeepLook:
    """Swap and context switches of *pids*, and their proportional memory where it is asked for.

    The kernel walks all of a process's pages for its proportional memory, and holds up its `mmap` meanwhile.
    Switches of threads that have ended are told by wait4 alone, when their process has.
    """
    swap_kib = voluntary = involuntary = 0
    pss_kib: int | None = None
    for pid in pids:
        status = _lines(_read(f"/proc/{pid}/status"))
        swap_kib += _number(status.get(b"VmSwap"))
        for each in _of_threads(pid, status):
            voluntary += _number(each.get(b"voluntary_ctxt_switches"))
            involuntary += _number(each.get(b"nonvoluntary_ctxt_switches"))
        rollup = _lines(_read(f"/proc/{pid}/smaps_rollup")) if with_pss else {}
        if b"Pss" in rollup:
            pss_kib = (pss_kib or 0) + _number(rollup[b"Pss"])
    return DeepLook(
        swap_bytes=swap_kib << 10,
        voluntary_switches=voluntary,
        involuntary_switches=involuntary,
        pss_bytes=None if pss_kib is None else pss_kib << 10,
    )


def last_pid() -> int | None:
    """The pid that our namespace of pids gave out last, of a thread perhaps; None when it cannot be read."""
    fields = _read("/proc/loadavg").split()
    return int(fields[4]) if len(fields) > 4 else None


def start_ticks(pid: int) -> int | None:
    """Start time of *pid* in ticks since boot, which with the pid is its identity; None when there is none."""
    fields = _stat(pid)
    return None if fields is None else int(fields[19])


def session(pid: int) -> int | None:
    """The session that *pid* belongs to; None when there is no such process."""
    fields = _stat(pid)
    return None if fields is None else int(fields[3])


def has_executed(pid: int) -> bool:
    """Whether *pid* (a zombie too) has executed a program since it was forked."""
    fields = _stat(pid)
    return fields is not None and not int(fields[6]) & _FORKED_ONLY


def has_terminal(pid: int) -> bool:
    """Whether *pid* was started from somebody's terminal, and has not left it."""
    fields = _stat(pid)
    return fields is not None and fields[4] != b"0"


def environment_has(pid: int, mark: bytes) -> bool:
    """Whether *pid* was started with *mark* (``NAME=value``) in its environment, as far as we may see it."""
    return mark in _environment(pid)


def environment_names(pid: int, name: bytes) -> bool:
    """The same for any value of the variable *name*."""
    return any(each.startswith(name + b"=") for each in _environment(pid))


def is_at_work_in(pid: int, folder: str) -> bool:
    """Whether *pid* has its working directory or its program in *folder* (a path without links), or has a file there
    open for writing; as far as we may see it."""
    place = f"/proc/{pid}"
    if any(_leads_into(f"{place}/{name}", folder) for name in ("cwd", "exe")):
        return True
    try:
        descriptors = os.listdir(f"{place}/fd")
    except OSError:  # another user's, or gone
        return False
    return any(_leads_into(f"{place}/fd/{fd}", folder) and _is_writing(f"{place}/fdinfo/{fd}") for fd in descriptors)


def parents() -> dict[int, int]:
    """The parent of each process of the machine."""
    return dict(_parents(int(name) for name in os.listdir("/proc") if name.isdigit()))


def descendants(root: int) -> list[int]:
    """All processes below *root*, without it, as pids; zombies included.

    Costs by the size of the tree, not of the machine, where the kernel lists children. A process
    whose parent dies under the walk moves to the subreaper: the root's children are looked at again
    until nothing new is there.
    """
    if not os.path.exists(f"/proc/{root}/task/{root}/children"):
        return _descendants_by_scan(root)
    found: dict[int, None] = {}
    for _ in range(_WALKS):
        news = [pid for pid in children(root) if pid not in found]
        if not news:
            break
        while news:
            pid = news.pop()
            if pid not in found:
                found[pid] = None
                news.extend(children(pid))
    return list(found)


def walk(root: int) -> tuple[ProcessLook, ...]:
    """A look at every process below *root*."""
    looks = (look(pid) for pid in descendants(root))
    return tuple(each for each in looks if each is not None)


def load_average() -> float:
    """The machine's, of the last minute."""
    return os.getloadavg()[0]


def available_memory_bytes() -> int:
    """What new programs may take before the machine swaps, by the kernel's own guess; 0 where it makes none."""
    return _number(_lines(_read("/proc/meminfo")).get(b"MemAvailable")) << 10


def stolen_seconds() -> float:
    """CPU that a hypervisor has kept from all processors together since boot (`steal` of proc_stat(5))."""
    fields = _read("/proc/stat").partition(b"\n")[0].split()
    return int(fields[8]) / TICKS_PER_SECOND if len(fields) > 8 else 0.0


def _stat(pid: int) -> list[bytes] | None:
    data = _read(f"/proc/{pid}/stat")
    return _fields(data) if data else None


def _fields(data: bytes) -> list[bytes]:
    """Fields of `/proc/<pid>/stat` from the state on (field 3); the name before may contain anything."""
    return data[data.rindex(b")") + 2 :].split(None, 31)


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:  # another user's, or gone
        return []


def _leads_into(link: str, folder: str) -> bool:
    try:
        path = os.readlink(link).removesuffix(" (deleted)")
    except OSError:
        return False
    return path == folder or path.startswith(f"{folder}/")


def _is_writing(information: str) -> bool:
    """By the flags in a descriptor's *information*, octal."""
    return int(_lines(_read(information)).get(b"flags", b"0"), 8) & os.O_ACCMODE != os.O_RDONLY


def _read(path: str) -> bytes:
    """The beginning of a small file; nothing when its process is gone, or when we may not read it."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return b""
    try:
        return os.read(fd, 4096)
    except (ProcessLookupError, PermissionError):
        return b""
    finally:
        os.close(fd)


def _lines(data: bytes) -> dict[bytes, bytes]:
    return dict((name, value) for name, _, value in (line.partition(b":") for line in data.splitlines()))


def _number(value: bytes | None) -> int:
    return int(value.split()[0]) if value else 0


def _of_threads(pid: int, status: dict[bytes, bytes]) -> Iterator[dict[bytes, bytes]]:
    """The status of each thread of *pid*, whose own *status* counts as that of its first thread."""
    if _number(status.get(b"Threads")) <= 1:
        yield status
    else:
        yield from (_lines(_read(f"/proc/{pid}/task/{thread}/status")) for thread in _threads(pid))


def _threads(pid: int) -> list[str]:
    """The living threads of *pid*; none when it is gone."""
    try:
        return os.listdir(f"/proc/{pid}/task")
    except (FileNotFoundError, ProcessLookupError):
        return []


def children(pid: int) -> list[int]:
    """Children of all threads of *pid*; a thread can fork as well."""
    found: list[int] = []
    for thread in _threads(pid):
        try:
            with open(f"/proc/{pid}/task/{thread}/children", "rb", buffering=0) as file:
                found.extend(int(child) for child in _whole(file.fileno()).split())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def _whole(fd: int) -> bytes:
    parts = []
    while part := os.read(fd, 65536):
        parts.append(part)
    return b"".join(parts)


def _descendants_by_scan(root: int) -> list[int]:
    """The same from a scan of the whole machine, for kernels without CONFIG_PROC_CHILDREN."""
    children: dict[int, list[int]] = {}
    for pid, parent in parents().items():
        children.setdefault(parent, []).append(pid)
    found: list[int] = []
    news = list(children.get(root, ()))
    while news:
        pid = news.pop()
        found.append(pid)
        news.extend(children.get(pid, ()))
    return found


def _parents(pids: Iterable[int]) -> Iterator[tuple[int, int]]:
    for pid in pids:
        fields = _stat(pid)
        if fields is not None:
            yield pid, int(fields[1])
