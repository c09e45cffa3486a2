"""hostile: closes what it has, fills its streams with rubbish, signals its parent, and exits with 7."""

import os
import signal

os.write(1, b"\0\xff\xfe" * 1000)
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD):
    os.kill(os.getppid(), number)
os.closerange(0, 100)
os._exit(7)
