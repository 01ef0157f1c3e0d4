"""The API over HTTP: routes, middleware, bodies and streams.

With `tessera.server` the only package that knows Starlette. An endpoint reads a request, calls the packages
below, and writes an answer; whatever is raised becomes an error body in `errors`, in one place.

Reading order: `app`, `context`, `middleware`, `chat`, `answers`, `delivery`, `body`, `errors`; and `web` for
the pages that people see.
"""
