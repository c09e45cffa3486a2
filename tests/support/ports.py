"""Ports of loopback that are chosen before somebody listens at them."""

import errno
import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path

#: Where Linux says from which ports on it gives them to connections by itself.
EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
FIRST = 10_000
#: A file for each port that was given, locked by the process that asked for as long as that lives: no other worker, and
#: no other run beside, is given it, also while its server is being started or is down for a while.
GIVEN = Path(tempfile.gettempdir()) / f"jobspan-test-ports-{os.getuid()}"


def free_port() -> int:
    """A port at which nobody listens, and which no connection and no other server that asks for any port is given.

    Between this call and the moment in which somebody listens there, other tests go on: those of the kernel's own
    choice would not stay free.
    """
    end = min(int(EPHEMERAL.read_text().split()[0]), 1 << 15)
    for port in random.SystemRandom().sample(range(FIRST, max(end, FIRST + 1000)), 1000):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                    raise
                continue
        if _is_given_to_us(port):
            return port
    raise AssertionError("no port is free")


def _is_given_to_us(port: int) -> bool:
    """Whether nobody had *port* before; nobody gets it now until this process ends, and with it the lock."""
    GIVEN.mkdir(mode=0o700, exist_ok=True)
    fd = os.open(GIVEN / str(port), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return False
    return True
