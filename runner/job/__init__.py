"""The vocabulary of jobs, pure: `description` (JDL, JSON, YAML), `status` and its table, `matching`."""
