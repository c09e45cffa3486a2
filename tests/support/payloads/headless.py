"""headless: its first thread ends, others go on; looked at from outside it seems to be a zombie. Ignores TERM."""

import ctypes
import os
import signal
import threading

signal.signal(signal.SIGTERM, signal.SIG_IGN)
for _ in range(4):
    threading.Thread(target=threading.Event().wait, args=(600,), daemon=True).start()
print(os.getpid(), flush=True)
ctypes.CDLL(None).syscall(60 if os.uname().machine == "x86_64" else 93, 0)  # exit of this thread alone
