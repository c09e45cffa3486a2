"""The embedded WMS's process."""

from collections.abc import Callable

from runner.config import Config
from runner.errors import ConfigError
from telemetry.clock import SystemClock


def run_wms(config: Config, announce: Callable[[str], None] = print) -> int:
    """Serve until SIGTERM or SIGINT; *announce* gets the address once it answers. The exit code.

    Raises:
        ConfigError: the extra that brings the server is not installed.
    """
    try:
        from runner.server.serve import serve
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the embedded WMS needs {error.name}; install it with: pip install 'jobspan[wms]'"
        ) from error
    serve(config, SystemClock(), announce)
    return 0
