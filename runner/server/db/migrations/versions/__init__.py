"""The steps, oldest first.

| module | what it brings |
|---|---|
| v0001_first_release | the tables of the first release, which wrote no version |
| v0002_pilots_logging | what pilots write about themselves; an index for searches by owner and status |
"""
