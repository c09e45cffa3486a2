"""jobspan: how a job is taken, run and ended (see the map below; filled in as rooms are built)."""

__version__ = "0.1.0"
