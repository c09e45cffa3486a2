"""The vocabulary of jobs, pure.

`description`  the frozen job description; `parse`, `from_mapping`, `to_mapping`, `to_jdl`
`fields`       what each field means: DIRAC's names, readers, writers
`document`     text to a tree with lines: JSON and YAML, and which of the three a text is
`located`      the tree in which every value knows its line
`jdl`          DIRAC's job description language, read and written
`matching`     what a job asks for, and whether a slot has it
`parametric`   one description that stands for many jobs
`requests`     combined requests: what is still to be done for a job when its wrapper ends
`status`       statuses, minor statuses and the transition table
"""
