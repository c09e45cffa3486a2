"""daemon SECONDS: leave a double-forked daemon in a session of its own, which burns CPU and then stays for ever.

Ends when the daemon has burnt; prints the daemon's pid.
"""

import os
import signal
import sys
import time

read_end, write_end = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() > 0:
        os._exit(0)
    while time.process_time() < float(sys.argv[1]):
        pass
    os.write(write_end, str(os.getpid()).encode())
    while True:
        signal.pause()
os.wait()
print(os.read(read_end, 20).decode(), flush=True)
