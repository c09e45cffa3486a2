"""burn SECONDS: use so much CPU, then end."""

import sys
import time

while time.process_time() < float(sys.argv[1]):
    pass
