"""`tessera serve`: the parent process, the API processes, and how all parts are put together.

`wiring` is the one composition root: settings become the `Service` that an API process runs. `parent` binds
the sockets, starts the engines and the API processes, and shuts them down without losing a reply.

Reading order: `parent`, `api`, `wiring`, `models`, `workers`, `draining`, `http1`.
"""
