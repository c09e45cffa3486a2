"""The WMS as the runner and its users call it, over HTTP.

* `client`        every call; `dialect` holds those that DiracX has, `answers` what comes back
* `checked`       answers read with suspicion: what is not what it should be is an error in words
* `transport`     calls with deadlines, errors mapped to ours, every call observed; `connections` carries them
* `tokens`        token files, and the renewal of a job's token
* `login`         the device flow; `credentials` keeps what it gives, and renews it through one locked file
* `clock_offset`  the WMS's clock minus ours
* `reporter`      the thread that delivers a job's statuses, parameters and heartbeats, in order
* `reports`       facts as the dialect words them; `delivery`: one such delivery, from journal and acknowledgements;
  `standing`: what it knows meanwhile
* `operations`    orders for many jobs, the site mask, pilots
* `discovery`     where our metrics are, said again and again, for Prometheus
* `requests`      combined requests and file statuses; `request_delivery` brings a job's from its journal
* `diracx`        all of this for a real DiracX server, which lacks much of it
* `stores`        sandboxes and catalogue behind the wrapper's ports; `transfers` moves the bytes
"""
