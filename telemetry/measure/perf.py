"""The kernel's task clock of a process tree, by `perf_event_open`: for an ordinary user without any group.

The event is opened by the starter on itself, before it forks. A child inherits it, whatever user or
session it moves to, and its own exec switches it on; the starter, which never executes anything, counts
nothing. (To open it on the child instead needs the right to trace it, which nobody but root has: the
starter cannot be dumped, and before its exec neither can the child.) An inherited event is counted where
it was opened, also those of processes that nobody waits for.

Not seen are programs that raise their rights (set-user-ID): the kernel takes the event from them.
The fold of the tree sees those, so the larger of both counts; beside processes that only the clock sees,
such a program hides.

It counts how long programs were on a processor by the clock on the wall: also while a hypervisor kept the
processor for itself, which no other account of the kernel does (0.12 s of a second in a bad hour).

Measured on Linux 6.18: 0.1 ms to open, 11 ms when no other event is open on the machine; 20 us to read;
for each fork of the payload less than the noise of nine rounds (some 5 % at most).
"""

import contextlib
import ctypes
import errno
import os
import struct
from dataclasses import dataclass
from pathlib import Path

_NANOSECONDS = 1_000_000_000
#: Of the call, which has no wrapper in the C library.
_NUMBERS = {"x86_64": 298, "aarch64": 241, "riscv64": 241, "ppc64le": 319, "s390x": 331}
_PERF_TYPE_SOFTWARE = 1
_PERF_COUNT_SW_TASK_CLOCK = 1
_ATTRIBUTE_BYTES = 112
#: disabled, inherit, exclude_kernel, enable_on_exec. An ordinary user must exclude the kernel, but a
#: clock goes on in it all the same.
_FLAGS = 1 << 0 | 1 << 1 | 1 << 5 | 1 << 12
_PERF_FLAG_FD_CLOEXEC = 8
_PARANOID = Path("/proc/sys/kernel/perf_event_paranoid")

_libc = ctypes.PyDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


@dataclass
class TaskClock:
    """CPU of all programs that are executed below the process that has opened it."""

    fd: int

    @classmethod
    def open(cls) -> "TaskClock":
        """Open it on the calling thread.

        Raises:
            OSError: the kernel does not grant it; the message says why.
        """
        number = _NUMBERS.get(os.uname().machine)
        if number is None:
            raise OSError(errno.ENOSYS, f"perf_event_open is not known for {os.uname().machine}")
        values = struct.pack(
            "=IIQQQQQ", _PERF_TYPE_SOFTWARE, _ATTRIBUTE_BYTES, _PERF_COUNT_SW_TASK_CLOCK, 0, 0, 0, _FLAGS
        )
        attributes = ctypes.create_string_buffer(values, _ATTRIBUTE_BYTES)
        itself, any_processor, no_leader = ctypes.c_int(0), ctypes.c_int(-1), ctypes.c_int(-1)
        flags = ctypes.c_ulong(_PERF_FLAG_FD_CLOEXEC)
        fd = int(_libc.syscall(ctypes.c_long(number), attributes, itself, any_processor, no_leader, flags))
        if fd < 0:
            raise OSError(ctypes.get_errno(), _refusal(ctypes.get_errno()))
        return cls(fd)

    def seconds(self) -> float:
        """What has been counted up to now, exact; never falls."""
        return float(struct.unpack("=Q", os.read(self.fd, 8))[0]) / _NANOSECONDS

    def close(self) -> None:
        """Let it go. Idempotent."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _refusal(number: int) -> str:
    level = ""
    with contextlib.suppress(OSError):
        level = f" (kernel.perf_event_paranoid is {_PARANOID.read_text().strip()})"
    return f"perf_event_open: {os.strerror(number)}{level}"
