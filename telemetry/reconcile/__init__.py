"""Records of any number of sources held against each other, also more than fit into memory. Needs the extra `[reports]`.

* `result`       what was found: frozen values
* `textfile`     the same as metrics, for a node exporter
"""
