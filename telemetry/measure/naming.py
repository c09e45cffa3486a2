"""The names under which a sample says who has measured each of its quantities. Pure."""

from telemetry.measure.snapshot import UsageReading

#: What needs no payload: clocks and calls that every Linux has.
NODE_METHODS = {"wall": "boottime", "wrapper_cpu": "cputime", "disk": "statvfs", "load": "loadavg"}


def sample_methods(reading: UsageReading) -> dict[str, str]:
    """The method of each quantity that a sample with this *reading* tells; those of the node first.

    Peaks that are not named are the most that any look has seen.
    """
    methods, own = reading.methods, reading.peaks
    pressures = (reading.cpu_pressure_seconds, reading.memory_pressure_seconds, reading.io_pressure_seconds)
    named = {
        "cpu": methods.cpu,
        "memory": methods.memory,
        "swap": methods.swap,
        "pss": "" if reading.pss_bytes is None else methods.switches,
        "processes": methods.processes,
        "threads": methods.threads,
        "io": methods.io,
        "faults": methods.faults,
        "switches": methods.switches,
        "pressure": "" if pressures == (None, None, None) else methods.pressure,
        "peak_memory": "" if own.memory_bytes is None else methods.peak_memory,
        "peak_swap": "" if own.swap_bytes is None else methods.peak_memory,
        "peak_memory_swap": "" if own.memory_swap_bytes is None else methods.peak_memory,
        "peak_threads": "" if own.threads is None else methods.peak_threads,
    }
    return {**NODE_METHODS, **{quantity: method for quantity, method in named.items() if method}}
