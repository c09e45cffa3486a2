"""JobWrapperTemplate: writes `Wrapper_<JobID>`, the script that a computing element runs, and its arguments.

Run by hand it does the same as when the agent submits it.
"""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runner.errors import ConfigError

#: The shell reads the first line of the string as a command, Python reads it as a string; an interpreter's path
#: may be too long, or have blanks, for a #! line of its own. `-I`: nothing of the environment or the present
#: folder is imported.
TEMPLATE = """#!/bin/sh
'''exec' "@SITEPYTHON@" -I "$0" "$@"
' '''
import sys
from pathlib import Path

from runner.compose.wrapper import wrapper_main

if __name__ == "__main__":
    sys.exit(wrapper_main(Path(__file__).absolute().with_suffix(".json")))
"""


def write_wrapper(control: Path, job_id: int, arguments: Mapping[str, Any], *, python: str = sys.executable) -> Path:
    """Write `Wrapper_<job_id>` and `Wrapper_<job_id>.json` into the folder *control*; the script's path.

    *python* is not resolved: a link in a virtual environment is what makes it that environment's.

    Raises:
        ConfigError: the interpreter's path cannot stand in a script.
    """
    if not python.startswith("/") or any(character in python for character in "\"'\\$`\n"):
        raise ConfigError(f"the interpreter {python!r} cannot be named in a script; install into another folder")
    script = control / f"Wrapper_{job_id}"
    _write(script.with_suffix(".json"), json.dumps(arguments, indent=1, sort_keys=True) + "\n", 0o600)
    _write(script, TEMPLATE.replace("@SITEPYTHON@", python), 0o700)
    return script


def _write(path: Path, text: str, mode: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with os.fdopen(fd, "w") as file:
        os.fchmod(fd, mode)
        file.write(text)
