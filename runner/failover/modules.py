"""A module by its name, and what it is told, from a file.

A community brings its own modules under the entry point group `jobspan.module`.
"""

import json
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, cast

from runner.errors import ConfigError, DescriptionError
from runner.failover.failover_request import FailoverRequest
from runner.failover.module_base import ModuleBase, Step

GROUP = "jobspan.module"
_OURS: Mapping[str, type[ModuleBase]] = {"FailoverRequest": FailoverRequest}


def load(name: str) -> type[ModuleBase]:
    """The module *name*.

    Raises:
        ConfigError: there is none.
    """
    if name in _OURS:
        return _OURS[name]
    found = entry_points(group=GROUP, name=name)
    if not found:
        known = sorted({*_OURS, *(each.name for each in entry_points(group=GROUP))})
        raise ConfigError(f"there is no module {name!r}; known are {', '.join(known)}")
    return cast(type[ModuleBase], next(iter(found)).load())


def read_step(text: str, source: str, *, folder: Path, job_id: int) -> Step:
    """The step that the JSON *text* describes: `workflow_commons`, `step_commons`, `workflow_ok`, `step_ok`.

    PRODUCTION_ID and JOB_ID (of the production) stand in `workflow_commons`, STEP_NUMBER in `step_commons`.

    Raises:
        DescriptionError: it describes none.
    """
    try:
        document = json.loads(text)
    except ValueError as error:
        raise DescriptionError(f"not JSON: {error}", source=source) from error
    if not isinstance(document, dict):
        raise DescriptionError("not an object", source=source)
    known = ("workflow_commons", "step_commons", "workflow_ok", "step_ok")
    unknown = [name for name in document if name not in known]
    if unknown:
        raise DescriptionError(f"not known; known are {', '.join(known)}", source=source, field=unknown[0])
    workflow, step = (_table(document, name, source) for name in known[:2])
    return Step(
        folder=folder,
        job_id=job_id,
        production_id=_number(workflow, "PRODUCTION_ID", source),
        prod_job_id=_number(workflow, "JOB_ID", source),
        step_number=_number(step, "STEP_NUMBER", source),
        workflow_commons=workflow,
        step_commons=step,
        workflow_ok=_flag(document, "workflow_ok", source),
        step_ok=_flag(document, "step_ok", source),
    )


def _table(document: Mapping[str, Any], name: str, source: str) -> Mapping[str, Any]:
    value = document.get(name, {})
    if not isinstance(value, dict):
        raise DescriptionError("must be an object", source=source, field=name)
    return value


def _flag(document: Mapping[str, Any], name: str, source: str) -> bool:
    value = document.get(name, True)
    if not isinstance(value, bool):
        raise DescriptionError("must be true or false", source=source, field=name)
    return value


def _number(table: Mapping[str, Any], name: str, source: str) -> int:
    text = str(table.get(name, 0))
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise DescriptionError("must be a whole number", source=source, field=name)
    return int(text)
