"""Files: where they lie, how they get here, and what may be in them.

* `ports`                  FileCatalog, StorageElement and Replica, as this layer needs them
* `storage`                FolderStorageElement: a storage element that is a folder
* `input_data_resolution`  LFNs -> files in the job's folder; the default of the `jobspan.input_data` entry points
* `lfn`                    logical file names: DIRAC's convention, and what is a valid one
* `transfers`              copies with adler32
* `below`                  files below a folder that somebody else fills: no link is followed
* `archives`               unpacking by rules of our own, and packing
* `tarstream`              the tar format, read as untrusted input
"""
