"""deaf: takes no notice of INT, prints its pid, stays until TERM."""

import os
import signal

signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever may be told early starts it with INT ignored
print(os.getpid(), flush=True)
while True:
    signal.pause()
