"""Write the dashboards that Grafana loads: `python -m dashboards.generate [--check]`."""

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dashboards.check import problems
from dashboards.jobs import jobs_dashboard
from dashboards.wms import wms_dashboard

FOLDER = Path(__file__).parent / "grafana"
DASHBOARD_PATH = FOLDER / "jobspan.json"
WMS_DASHBOARD_PATH = FOLDER / "jobspan-wms.json"
DASHBOARDS: Mapping[Path, Callable[[], dict[str, Any]]] = {
    DASHBOARD_PATH: jobs_dashboard,
    WMS_DASHBOARD_PATH: wms_dashboard,
}


def dashboard() -> dict[str, Any]:
    """The dashboard of the jobs as it should be."""
    return jobs_dashboard()


def text(document: dict[str, Any]) -> str:
    """Content of a file."""
    return json.dumps(document, indent=2) + "\n"


def outdated() -> list[Path]:
    """Files of the checkout that are not what the code says."""
    return [path for path, make in DASHBOARDS.items() if not path.is_file() or path.read_text() != text(make())]


def is_current() -> bool:
    """Whether none is."""
    return not outdated()


def main(arguments: list[str] | None = None) -> int:
    """Write the files, or with --check only compare; 0 when they are (now) up to date and their queries are sound."""
    parser = argparse.ArgumentParser(prog="python -m dashboards.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the file is out of date")
    options = parser.parse_args(arguments)
    found = [problem for make in DASHBOARDS.values() for problem in problems(make())]
    if options.check:
        found += [f"{path} is out of date; run python -m dashboards.generate" for path in outdated()]
    elif not found:
        FOLDER.mkdir(exist_ok=True)
        for path, make in DASHBOARDS.items():
            path.write_text(text(make()))
    for each in found:
        sys.stderr.write(f"{each}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
