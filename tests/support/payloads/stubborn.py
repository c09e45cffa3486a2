"""stubborn: ignores TERM, prints its pid, stays for ever."""

import os
import signal

signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(os.getpid(), flush=True)
while True:
    signal.pause()
