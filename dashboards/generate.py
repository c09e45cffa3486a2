"""Write the dashboards that Grafana loads: `python -m dashboards.generate [--check]`."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from dashboards.check import problems
from dashboards.jobs import jobs_dashboard

DASHBOARD_PATH = Path(__file__).parent / "grafana" / "jobspan.json"


def dashboard() -> dict[str, Any]:
    """The dashboard as it should be."""
    return jobs_dashboard()


def text() -> str:
    """Content of the file."""
    return json.dumps(dashboard(), indent=2) + "\n"


def is_current() -> bool:
    """Whether the file in the checkout is what the code says."""
    return DASHBOARD_PATH.is_file() and DASHBOARD_PATH.read_text() == text()


def main(arguments: list[str] | None = None) -> int:
    """Write the file, or with --check only compare; 0 when it is (now) up to date and its queries are sound."""
    parser = argparse.ArgumentParser(prog="python -m dashboards.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the file is out of date")
    options = parser.parse_args(arguments)
    found = problems(dashboard())
    if options.check and not is_current():
        found.append(f"{DASHBOARD_PATH} is out of date; run python -m dashboards.generate")
    if not found and not options.check:
        DASHBOARD_PATH.parent.mkdir(exist_ok=True)
        DASHBOARD_PATH.write_text(text())
    for each in found:
        sys.stderr.write(f"{each}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
