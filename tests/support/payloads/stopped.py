"""stopped: prints its pid, then stops itself; when continued, TERM ends it."""

import os
import signal

print(os.getpid(), flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
while True:
    signal.pause()
