"""Configurations with something changed by the command line."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from runner.config import Config, load


def with_options(config: Config, options: Mapping[str, Mapping[str, Any]]) -> Config:
    """*config* with *options* (table -> option -> value), validated as in the file.

    Raises:
        ConfigError: an impossible value.
    """
    return load(config.source, config.folder, environment=config.environment, overrides=options)


def in_folder(config: Config, folder: Path) -> Config:
    """*config* for another *folder*."""
    return replace(config, folder=folder.expanduser().absolute())
