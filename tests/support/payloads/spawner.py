"""spawner PROGRAM...: starts PROGRAM by posix_spawn (vfork) in a session of its own, and obeys TERM."""

import os
import signal
import sys

os.posix_spawn(sys.argv[1], sys.argv[1:], dict(os.environ), setsid=True)
signal.pause()
