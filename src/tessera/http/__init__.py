"""The API over HTTP: routes, middleware, bodies and streams.

With `tessera.server` the only package that knows Starlette. An endpoint reads a request, calls the packages
below, and writes an answer; whatever is raised becomes an error body in `errors`, in one place.

<<<<<<< HEAD
Reading order: `app`, `context`, `middleware`, `chat`, `answers`, `body`, `sse`, `presence`, `errors`, and for
the pages that people see `web`.
=======
Reading order: `app`, `context`, `middleware`, `chat`, `answers`, `body`, `sse`, `presence`, `errors`, and
`web` for the pages that people see.
>>>>>>> w_web
"""
