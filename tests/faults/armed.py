"""`python -m tests.faults.armed --folder DIR wms|agent ...`: the very command, with its points armed."""

import sys
from pathlib import Path
from typing import Any

from tests.faults.points import Striker, arm, around

_HOOK = "from runner.compose.wrapper import wrapper_main\n"
_ARMED = _HOOK + "from tests.faults.points import arm\n\narm(Path(__file__).absolute().parents[3])\n"


def main(arguments: list[str]) -> int:
    """Arm this process, then be `jobspan`."""
    from runner.cli import main as jobspan

    striker = arm(Path(arguments[arguments.index("--folder") + 1]))
    if "agent" in arguments:
        _arm_agent(striker)
    return jobspan(arguments)


def _arm_agent(striker: Striker) -> None:
    """The phases of an agent between its facts; and its wrappers are armed too."""
    from runner.agent import aftercare, folders
    from runner.compose import agent as compose
    from runner.computing import inprocess
    from runner.wms import client
    from runner.wrapper import template
    from telemetry.live import shipping

    template.TEMPLATE = template.TEMPLATE.replace(_HOOK, _ARMED)
    compose.PRELOADED = (*compose.PRELOADED, "tests.faults.armed_starters")

    def of_path(position: int) -> Any:
        return lambda args, _: _attempt_in(args[position])

    def of_match(_: tuple[Any, ...], result: Any) -> str | None:
        return f"{result.job_id}.{result.attempt}" if result else None

    around(client.WmsClient, "match", striker, "agent:matched", of_match)
    around(folders, "write_secret", striker, "agent:folder", of_path(0))
    around(compose, "write_wrapper", striker, "agent:script", of_path(0))
    around(inprocess.InProcessComputingElement, "submit_job", striker, "agent:forked", of_path(1))
    around(aftercare, "recover", striker, "agent:recovered", of_path(0))
    around(compose.NodeTelemetry, "on_attempt_ended", striker, "agent:counted", of_path(1))
    around(aftercare.Aftercare, "_deliver", striker, "agent:delivered", lambda args, _: args[1].folder.root.name)
    around(shipping.Shipping, "_to_file", striker, "agent:shipped", of_path(1))


def _attempt_in(path: Path) -> str | None:
    """`17.1` of a path below `jobs/17.1`."""
    parts = Path(path).parts
    return parts[parts.index("control") - 1] if "control" in parts else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
