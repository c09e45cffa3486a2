"""auto_reap CHILDREN SECONDS: children that burn CPU and are reaped by the kernel, because SIGCHLD is ignored."""

import os
import signal
import sys
import time

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for _ in range(int(sys.argv[1])):
    read_end, write_end = os.pipe()
    if os.fork() == 0:
        while time.process_time() < float(sys.argv[2]):
            pass
        os._exit(0)
    os.close(write_end)
    os.read(read_end, 1)
