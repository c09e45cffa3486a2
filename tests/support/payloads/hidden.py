"""hidden HOW: when there is a file `go`, leave a daemon that hides: session, environment and parents are not ours.

"stays" in the folder; "writes" to our output, from elsewhere; "has a child" that is elsewhere and writes nothing.
Prints the pids of those that hide, and stays.
"""

import os
import select
import signal
import sys

STAY = [sys.executable, "-I", "-S", "-c", "import signal\nwhile True: signal.pause()"]


def hide(how: str) -> None:
    """Become another program, without environment."""
    os.write(1, f"{os.getpid()}\n".encode())
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 2) if how == "writes" else (0, 1, 2):
        os.dup2(null, number)
    if how != "stays":
        os.chdir("/")
    os.execve(STAY[0], STAY, {})


while not os.path.exists("go"):
    select.select([], [], [], 0.01)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        if sys.argv[1] != "has a child":
            hide(sys.argv[1])
        if os.fork() == 0:
            os.setsid()
            hide("gone")
        hide("stays")
    os._exit(0)
os.wait()
while True:
    signal.pause()
