"""What the kernel offers and the standard library does not: a few calls through ctypes.

Everything is loaded when this module is imported, so that nothing needs to be loaded after a fork.
"""

import ctypes
import os
import signal
import struct

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
#: The same number on every architecture (calls above 424 are common to all).
_SYS_CLONE3 = 435
_CLONE_INTO_CGROUP = 0x200000000
_SIGCHLD = 17
#: Options of waitid and wait4: also children whose end is told by another signal than SIGCHLD.
WALL = 0x40000000

#: PyDLL keeps the interpreter's lock, which makes a raw clone as safe as a fork in a process of one thread.
_libc = ctypes.PyDLL(None, use_errno=True)
_libc.prctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong)
_libc.syscall.restype = ctypes.c_long


def harden() -> None:
    """Make this process non-dumpable: others of the same user cannot read its memory or trace it."""
    _prctl(_PR_SET_DUMPABLE, 0)


def become_subreaper() -> None:
    """From now on, descendants of this process that lose their parent become its children."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def end_with_parent(pid: int) -> None:
    """Get SIGTERM when our parent *pid* ends, or now if it has ended already.

    The kernel watches the thread that forked us: only for children of a main thread.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != pid:
        os.kill(os.getpid(), signal.SIGTERM)


def set_name(name: str) -> None:
    """The name that ps shows, at most 15 bytes."""
    buffer = ctypes.create_string_buffer(name.encode()[:15])
    _prctl(_PR_SET_NAME, ctypes.addressof(buffer))


def fork_into(group_fd: int) -> int:
    """Fork into the control group whose folder *group_fd* is; 0 in the child. Only without other threads.

    The child belongs to the group from its first instruction on; moving it there later would cost
    some 20 ms. `os.register_at_fork` does not see this fork.

    Raises:
        OSError: the kernel is older than Linux 5.7, forbids the call, or has no right to the group.
    """
    arguments = struct.pack("=11Q", _CLONE_INTO_CGROUP, 0, 0, 0, _SIGCHLD, 0, 0, 0, 0, 0, group_fd)
    buffer = ctypes.create_string_buffer(arguments, len(arguments))
    pid = int(_libc.syscall(_SYS_CLONE3, buffer, ctypes.c_size_t(len(arguments))))
    if pid < 0:
        raise _error("clone3")
    return pid


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0):
        raise _error("prctl")


def _error(call: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{call}: {os.strerror(number)}")
