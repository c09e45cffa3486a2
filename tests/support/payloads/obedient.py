"""obedient [CODE]: stays until TERM comes, then says so and exits with CODE (0)."""

import os
import signal
import sys


def obey(number: int, frame: object) -> None:
    """Exit at once, with a last word."""
    os.write(1, b"told to end\n")
    os._exit(int(sys.argv[1]) if len(sys.argv) > 1 else 0)


signal.signal(signal.SIGTERM, obey)
print(os.getpid(), flush=True)
while True:
    signal.pause()
