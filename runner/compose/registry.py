"""The embedded WMS's users and keys, for its operator: on its folder, whether it serves or not."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from runner.compose.wms import needs_server
from runner.config import Config
from runner.errors import RefusedError
from telemetry.clock import SystemClock

if TYPE_CHECKING:
    from runner.server.services.registry import Registry


@contextmanager
def open_registry(config: Config) -> "Iterator[Registry]":
    """Users of the WMS of this folder.

    Raises:
        ConfigError: the database or the keys cannot be used. RefusedError: what is asked for cannot be.
    """
    with needs_server():
        from runner.server.app import open_context
        from runner.server.errors import ServiceError
        from runner.server.services.registry import Registry
        from runner.server.settings import ServerSettings

    context = open_context(ServerSettings.from_config(config), SystemClock())
    try:
        yield Registry(context)
    except ServiceError as error:
        raise RefusedError(str(error)) from error
    finally:
        context.databases.close()


def rotate_keys(config: Config, *, now: bool) -> str:
    """A new key signs tokens from now on; the old ones count for as long as a token lives, or *now* no more.

    Raises:
        ConfigError: the keys cannot be used.
    """
    with needs_server():
        from runner.server.keys import KeyRing
        from runner.server.settings import ServerSettings

    settings = ServerSettings.from_config(config)
    settings.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return KeyRing(settings.keys, SystemClock()).rotate(0 if now else settings.longest_token_seconds)
