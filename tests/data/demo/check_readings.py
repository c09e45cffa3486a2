"""Check a table of sensor readings; exit code 3 when a row is not plausible."""

import csv
import sys


def main():
    """Look at every row, and name the bad ones."""
    bad = 0
    with open(sys.argv[1], newline="", encoding="ascii") as file:
        for number, row in enumerate(csv.DictReader(file), 2):
            celsius = float(row["celsius"])
            if not -90 < celsius < 60:
                bad += 1
                print(f"{sys.argv[1]}:{number}: {celsius} degrees at {row['sensor']} is not plausible")
    print(f"{bad} bad rows")
    return 3 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
