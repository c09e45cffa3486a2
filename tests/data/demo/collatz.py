"""Print, for each number up to the named one, how many steps of Collatz's rule lead to 1; a line each."""

import sys


def main():
    """Remember the steps of all numbers seen, so that each takes only a few."""
    last = int(sys.argv[1])
    steps = [0] * (last + 1)
    lines = ["1 0\n"]
    for number in range(2, last + 1):
        value, count = number, 0
        while value >= number:
            value = value >> 1 if value % 2 == 0 else 3 * value + 1
            count += 1
        steps[number] = count + steps[value]
        lines.append(f"{number} {steps[number]}\n")
        if len(lines) >= 5000:
            sys.stdout.write("".join(lines))
            lines.clear()
    sys.stdout.write("".join(lines))


if __name__ == "__main__":
    main()
