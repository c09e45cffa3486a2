"""Compute ever finer pictures of the Mandelbrot set until told to stop; then write down how far it came."""

import json
import signal
import sys
from itertools import count

LIMIT = 200


def steps(c):
    """How long the point stays near."""
    z = 0j
    for number in range(LIMIT):
        z = z * z + c
        if z.real * z.real + z.imag * z.imag > 4:
            return number
    return LIMIT


def main():
    """Row by row, picture by picture."""
    done = {"pictures": 0, "rows": 0, "points_inside": 0}

    def stop(signum, frame):
        with open("checkpoint.json", "w", encoding="ascii") as file:
            json.dump(done, file)
        sys.exit(128 + signum)

    signal.signal(signal.SIGTERM, stop)
    for picture in count(4):
        size = 1 << picture
        for row in range(size):
            inside = sum(steps(complex(-2.2 + 3 * x / size, -1.5 + 3 * row / size)) == LIMIT for x in range(size))
            done["rows"] += 1
            done["points_inside"] += inside
            print(f"{size} x {size}: row {row}, {inside} points inside", flush=True)
        done["pictures"] += 1


if __name__ == "__main__":
    main()
