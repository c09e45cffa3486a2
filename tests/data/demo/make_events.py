"""Write 50 MB of simulated events (a peak on a falling background) to the named file; always the same ones."""

import random
import sys

SIZE_BYTES = 50_000_000
BLOCK = 20_000


def block(generator, first):
    """BLOCK events as text: event,detector,energy_keV,time_us."""
    lines = []
    for number in range(first, first + BLOCK):
        in_peak = generator.random() < 0.25
        energy = generator.gauss(121.78, 2.4) if in_peak else 60.0 + generator.expovariate(1 / 80.0)
        detector = generator.randrange(16)
        lines.append(f"{number:09d},D{detector:02d},{energy:.4f},{number * 12.5 + detector:.3f},{energy * 1.013:.4f}\n")
    return "".join(lines)


def main():
    """Write blocks until the file is large enough."""
    generator = random.Random(20260115)
    with open(sys.argv[1], "w", encoding="ascii", newline="\n") as file:
        written = file.write("event,detector,energy_keV,time_us,light\n")
        first = 0
        while written < SIZE_BYTES:
            written += file.write(block(generator, first))
            first += BLOCK


if __name__ == "__main__":
    main()
