"""How users are named in what leaves the site: spans, events, exports."""

import os
import secrets
from contextlib import suppress
from functools import partial
from pathlib import Path

from runner.config import Config
from runner.errors import ConfigError
from telemetry.identity import UserName, pseudonym

KEY_FILE = "user-hash.key"
_LEAST_KEY_LENGTH = 16


def user_names(config: Config) -> UserName:
    """How a user is named outside: by a keyed hash, unless the configuration wants the name itself.

    Raises:
        ConfigError: the file of the key cannot be used.
    """
    if config.telemetry.user_names == "plain":
        return str
    chosen = config.telemetry.user_hash_key_file
    path = Path(chosen).expanduser() if chosen else config.folder / KEY_FILE
    try:
        key = _key(path, make=not chosen)
    except OSError as error:
        raise ConfigError(f"[Telemetry] UserHashKeyFile {path}: {error.strerror}") from error
    if len(key) < _LEAST_KEY_LENGTH:
        raise ConfigError(f"{path}: a key has at least {_LEAST_KEY_LENGTH} characters")
    return partial(pseudonym, key)


def _key(path: Path, *, make: bool) -> bytes:
    """The key in the file; where there is none, one is made, by whoever is the first of several to do so."""
    if make and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32) + "\n")
        with suppress(FileExistsError):
            os.link(part, path)
        part.unlink()
    return path.read_bytes().strip()
