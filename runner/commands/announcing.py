"""How a service says that it is ready: one line, or with `--json` one object."""

import json
from collections.abc import Callable

from runner.commands.terminal import Terminal


def announcer(terminal: Terminal) -> Callable[[str], None]:
    """What a service calls once, when it answers; whoever started it waits for that line."""

    def announce(text: str) -> None:
        print(json.dumps({"ready": text}) if terminal.as_json else text, flush=True)

    return announce
