"""answers CODE [NAME]: works until INT comes, then exits with CODE; TERM ends it as it ends everybody."""

import os
import signal
import sys

code = int(sys.argv[1])


def answer(number: int, frame: object) -> None:
    """End well."""
    os._exit(code)


signal.signal(signal.SIGINT, answer)
print(os.getpid(), flush=True)
while True:
    signal.pause()
