"""What not everybody installs: a worker node needs no reports."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def needs_extra(extra: str, what: str) -> Iterator[None]:
    """Around the imports of *what*, which come with `pip install 'jobspan[extra]'`.

    Raises:
        ConfigError: something of it is not installed.
    """
    from runner.errors import ConfigError

    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("runner", "telemetry", "dashboards"):
            raise
        raise ConfigError(f"{what} needs {error.name}; install it with: pip install 'jobspan[{extra}]'") from None
