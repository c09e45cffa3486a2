"""Histogram of the energies in a CSV file, and the fit of a Gaussian peak on a falling background by least squares."""

import argparse
import gzip
import json
import math
import os
import sys

LOW, HIGH = 90.0, 150.0
MIDDLE = (LOW + HIGH) / 2
BLOCK_BYTES = 4 << 20
PEAK_SIGMAS = 2.0


def lines_of(path):
    """The lines of a file, in lists, read in blocks."""
    with open(path, "rb") as file:
        file.readline()
        rest = b""
        while block := file.read(BLOCK_BYTES):
            *lines, rest = (rest + block).split(b"\n")
            yield lines
        if rest:
            yield [rest]


def histogram(path, bins):
    """Counts of the energies from LOW to HIGH, and how many events there were in all."""
    counts = [0] * bins
    scale = bins / (HIGH - LOW)
    total = 0
    for lines in lines_of(path):
        total += len(lines)
        for line in lines:
            energy = float(line.split(b",", 3)[2])
            if LOW <= energy < HIGH:
                counts[int((energy - LOW) * scale)] += 1
        print(f"{total} events read", flush=True)
    return counts, total


def solve(matrix, right):
    """Solve a small linear system by elimination with pivots."""
    size = len(right)
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    for i in range(size):
        pivot = max(range(i, size), key=lambda k: abs(rows[k][i]))
        rows[i], rows[pivot] = rows[pivot], rows[i]
        for k in range(i + 1, size):
            factor = rows[k][i] / rows[i][i]
            rows[k] = [a - factor * b for a, b in zip(rows[k], rows[i], strict=True)]
    result = [0.0] * size
    for i in reversed(range(size)):
        known = sum(rows[i][k] * result[k] for k in range(i + 1, size))
        result[i] = (rows[i][size] - known) / rows[i][i]
    return result


def model(p, x):
    """Height p0, position p1, width p2 of the peak; background p3 exp(p4 (x - MIDDLE))."""
    return p[0] * math.exp(-0.5 * ((x - p[1]) / p[2]) ** 2) + p[3] * math.exp(p[4] * (x - MIDDLE))


def gradient(p, x):
    """Derivatives of the model by its parameters."""
    z = (x - p[1]) / p[2]
    shape = math.exp(-0.5 * z * z)
    falling = math.exp(p[4] * (x - MIDDLE))
    return [shape, p[0] * shape * z / p[2], p[0] * shape * z * z / p[2], falling, p[3] * (x - MIDDLE) * falling]


def chi_square(p, points):
    """Sum of squared residuals over their variances."""
    return sum((y - model(p, x)) ** 2 / max(y, 1) for x, y in points)


def step_of(points, p, damping):
    """Where the damped normal equations lead from p."""
    matrix = [[0.0] * 5 for _ in range(5)]
    right = [0.0] * 5
    for x, y in points:
        slope, weight = gradient(p, x), 1 / max(y, 1)
        residual = (y - model(p, x)) * weight
        for i in range(5):
            right[i] += slope[i] * residual
            for k in range(5):
                matrix[i][k] += slope[i] * slope[k] * weight
    for i in range(5):
        matrix[i][i] *= 1 + damping
    return [a + b for a, b in zip(p, solve(matrix, right), strict=True)]


def fit(points, p):
    """Levenberg's and Marquardt's method; parameters and chi square."""
    damping, best = 1e-3, chi_square(p, points)
    while damping < 1e12:
        trial = step_of(points, p, damping)
        value = chi_square(trial, points)
        if value >= best:
            damping *= 10
            continue
        improved = best - value
        p, best, damping = trial, value, damping / 10
        if improved < 1e-9 * best:
            break
    return p, best


def svg(points, p):
    """The histogram and the fitted curve as a drawing."""
    width, height, top = 720, 400, max(y for _, y in points) * 1.1

    def place(x, y):
        return f"{40 + (x - LOW) / (HIGH - LOW) * (width - 60):.1f},{height - 40 - y / top * (height - 70):.1f}"

    bars = "".join(f'<path d="M{place(x, 0)} L{place(x, y)}"/>' for x, y in points)
    curve = " ".join(place(LOW + i * (HIGH - LOW) / 400, model(p, LOW + i * (HIGH - LOW) / 400)) for i in range(401))
    title = f"peak at {p[1]:.2f} keV, width {abs(p[2]):.2f} keV"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif">'
        f'<rect width="100%" height="100%" fill="white"/><g stroke="#8aa9c8" stroke-width="3.5">{bars}</g>'
        f'<polyline points="{curve}" fill="none" stroke="#b3261e" stroke-width="2"/>'
        f'<text x="40" y="22">{title}</text><text x="{width - 130}" y="{height - 12}">energy (keV)</text></svg>\n'
    )


def keep_peak(path, p, target):
    """Write the events within two widths of the peak to a compressed file; how many they are."""
    low, high = p[1] - PEAK_SIGMAS * abs(p[2]), p[1] + PEAK_SIGMAS * abs(p[2])
    kept = 0
    with gzip.GzipFile(target, "wb", compresslevel=1, mtime=0) as file:
        for lines in lines_of(path):
            chosen = [line for line in lines if low <= float(line.split(b",", 3)[2]) < high]
            kept += len(chosen)
            file.write(b"".join(line + b"\n" for line in chosen))
    return kept


def main():
    """Read, fit, write result.json, histogram.svg and peak.csv.gz."""
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    parser.add_argument("--bins", type=int, default=120)
    arguments = parser.parse_args()
    counts, total = histogram(arguments.file, arguments.bins)
    step = (HIGH - LOW) / arguments.bins
    points = [(LOW + (i + 0.5) * step, count) for i, count in enumerate(counts)]
    highest = max(points, key=lambda point: point[1])
    parameters, chi = fit(points, [highest[1], highest[0], 3.0, min(counts), -0.01])
    kept = keep_peak(arguments.file, parameters, "peak.csv.gz")
    result = {
        "events": total,
        "peak_keV": parameters[1],
        "width_keV": abs(parameters[2]),
        "chi_square_per_degree": chi / (len(points) - 5),
        "events_kept": kept,
        "traceparent": os.environ.get("TRACEPARENT", ""),
    }
    with open("result.json", "w", encoding="ascii") as file:
        json.dump(result, file, indent=2)
    with open("histogram.svg", "w", encoding="ascii") as file:
        file.write(svg(points, parameters))
    print(json.dumps(result))
    return 0 if abs(parameters[1] - 121.78) < 0.1 else 1


if __name__ == "__main__":
    sys.exit(main())
