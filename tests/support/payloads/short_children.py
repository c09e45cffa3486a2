"""short_children CHILDREN SECONDS: children that burn CPU one after the other, each waited for; a grandchild each."""

import os
import sys
import time


def burn() -> None:
    """Use CPU."""
    end = time.process_time() + float(sys.argv[2]) / 2
    while time.process_time() < end:
        pass


for _ in range(int(sys.argv[1])):
    if os.fork() == 0:
        burn()
        if os.fork() == 0:
            burn()
            os._exit(0)
        os.wait()
        os._exit(0)
    os.wait()
