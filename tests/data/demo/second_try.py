"""Compute digits of pi, but not in the first attempt: that one asks to be rescheduled (DIRAC's WMSRESC)."""

import os
import sys

WMSRESC = 1502


def digits_of_pi(count):
    """Gibbons's spigot."""
    q, r, t, k, m, x = 1, 0, 1, 1, 3, 3
    digits = []
    while len(digits) < count:
        if 4 * q + r - t < m * t:
            digits.append(str(m))
            q, r, m = 10 * q, 10 * (r - m * t), (10 * (3 * q + r)) // t - 10 * m
        else:
            q, r, t, k, m, x = q * k, (2 * q + r) * x, t * x, k + 1, (q * (7 * k + 2) + r * x) // (t * x), x + 2
    return "".join(digits)


def main():
    """Give up in the first attempt, compute in the next."""
    attempt = int(os.environ["JOBSPAN_JOB_ATTEMPT"])
    digits = digits_of_pi(int(sys.argv[1]) if attempt > 1 else 100)
    print(f"attempt {attempt}: {len(digits)} digits")
    if attempt == 1:
        print("not enough; asking for another attempt")
        return WMSRESC & 0xFF
    with open("pi.txt", "w", encoding="ascii") as file:
        file.write(digits[0] + "." + digits[1:] + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
