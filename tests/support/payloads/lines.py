"""lines COUNT [END]: COUNT numbered lines on stdout, as fast as possible, then END without a newline."""

import sys

out = sys.stdout
for start in range(0, int(sys.argv[1]), 10000):
    out.write("".join(f"line {number}\n" for number in range(start, min(start + 10000, int(sys.argv[1])))))
out.write("".join(sys.argv[2:]))
