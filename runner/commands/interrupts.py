"""Commands that have started processes end them in order, whichever signal ends the command."""

import signal
from types import FrameType


def end_in_order() -> None:
    """From now on SIGTERM and SIGINT (also where it was inherited as ignored) unwind like Ctrl-C, once.

    A second signal finds the default: whoever insists gets the immediate end.
    """
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, _unwind)


def _unwind(signum: int, _: FrameType | None) -> None:
    signal.signal(signum, signal.SIG_DFL)
    raise KeyboardInterrupt
