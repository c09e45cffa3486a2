"""Ports of loopback that are chosen before somebody listens at them."""

import errno
import random
import socket
from pathlib import Path

#: Where Linux says from which ports on it gives them to connections by itself.
EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
FIRST = 10_000


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
            return port
    raise AssertionError("no port is free")
