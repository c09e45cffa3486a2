"""answers CODE [NAME]: works until INT comes, then exits with CODE; TERM ends it as it ends everybody.

Called with the name `later` it goes by the name `ready` from the moment at which no INT can come too early for it.
"""

import os
import signal
import sys

code = int(sys.argv[1])
if sys.argv[2:] == ["later"]:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    os.execv(sys.executable, [sys.executable, "-I", "-S", __file__, sys.argv[1], "ready"])


def answer(number: int, frame: object) -> None:
    """End well."""
    os._exit(code)


signal.signal(signal.SIGINT, answer)
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
print(os.getpid(), flush=True)
while True:
    signal.pause()
