"""restless: never the same process for long: each forks its successor in a new session, ignores TERM and ends.

There are two of it at a time, so it is no bomb, but it is hard to catch.
"""

import os
import signal

signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    while True:
        os.setsid()
        if os.fork() > 0:
            os._exit(0)
print("gone", flush=True)
signal.pause()
