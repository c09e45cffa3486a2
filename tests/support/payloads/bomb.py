"""bomb WIDTH DEPTH: each process keeps WIDTH children, which do the same down to DEPTH; none obeys TERM.

A child that dies is forked again, so that whoever ends it one by one has to be quicker than all of it.
"""

import os
import signal
import sys

width, depth = int(sys.argv[1]), int(sys.argv[2])
signal.signal(signal.SIGTERM, signal.SIG_IGN)


def breed(level: int) -> None:
    """Have children for ever."""
    children = 0
    while True:
        while children < width and level < depth:
            if os.fork() == 0:
                breed(level + 1)
            children += 1
        if not children:
            signal.pause()
        os.wait()
        children -= 1


print(os.getpid(), flush=True)
breed(0)
