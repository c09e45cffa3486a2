"""A word to systemd, for units of Type=notify: it waits until a service answers, and knows when one stops."""

import contextlib
import socket
from collections.abc import Mapping

VARIABLE = "NOTIFY_SOCKET"
READY, STOPPING = "READY=1", "STOPPING=1"


def notify(environment: Mapping[str, str], word: str) -> None:
    """Say *word* to whoever listens at `$NOTIFY_SOCKET`; nothing where nobody does."""
    address = environment.get(VARIABLE, "")
    if not address.startswith(("/", "@")):
        return
    with (
        contextlib.suppress(OSError),  # nobody is there any more: a service does not fail for that
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender,
    ):
        sender.setblocking(False)
        sender.sendto(word.encode(), "\0" + address[1:] if address.startswith("@") else address)
