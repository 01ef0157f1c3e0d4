"""`tessera serve`: the parent process, the API processes, and how all parts are put together."""
