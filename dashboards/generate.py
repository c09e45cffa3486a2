"""Write what Grafana and Prometheus load: `python -m dashboards.generate [--check]`."""

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dashboards.accounting_and_spool import accounting_dashboard
from dashboards.alerts import GROUPS
from dashboards.check import problems, rule_problems
from dashboards.job_stages import stages_dashboard
from dashboards.rules import rules_text
from dashboards.site_overview import site_dashboard
from dashboards.watchdog_and_kills import kills_dashboard
from dashboards.wms import wms_dashboard

FOLDER = Path(__file__).parent
RULES_PATH = FOLDER / "prometheus" / "jobspan.rules.yml"
DASHBOARDS: Mapping[Path, Callable[[], dict[str, Any]]] = {
    FOLDER / "grafana" / f"{name}.json": make
    for name, make in (
        ("site-overview", site_dashboard),
        ("job-stages", stages_dashboard),
        ("watchdog-and-kills", kills_dashboard),
        ("accounting-and-spool", accounting_dashboard),
        ("wms", wms_dashboard),
    )
}


def text(document: dict[str, Any]) -> str:
    """Content of the file of a dashboard."""
    return json.dumps(document, indent=2) + "\n"


def files() -> dict[Path, str]:
    """Every generated file as it should be."""
    return {**{path: text(make()) for path, make in DASHBOARDS.items()}, RULES_PATH: rules_text(GROUPS)}


def outdated() -> list[Path]:
    """Files of the checkout that are not what the code says, and dashboards that it no longer says."""
    wanted = files()
    changed = [path for path, content in wanted.items() if not path.is_file() or path.read_text() != content]
    return changed + [path for path in sorted((FOLDER / "grafana").glob("*.json")) if path not in wanted]


def main(arguments: list[str] | None = None) -> int:
    """Write the files, or with --check only compare; 0 when they are (now) up to date and their queries are sound."""
    parser = argparse.ArgumentParser(prog="python -m dashboards.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file is out of date")
    options = parser.parse_args(arguments)
    found = [problem for make in DASHBOARDS.values() for problem in problems(make())] + rule_problems(GROUPS)
    if options.check:
        found += [f"{path} is out of date; run python -m dashboards.generate" for path in outdated()]
    elif not found:
        for path, content in files().items():
            path.parent.mkdir(exist_ok=True)
            path.write_text(content)
    for each in found:
        sys.stderr.write(f"{each}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
