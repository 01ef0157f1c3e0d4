"""One HTTP/1.1 connection below ASGI: framing, caps and deadlines.

uvicorn's protocol class, with one request at a time, a cap on the head, and deadlines for clients that are
slow or gone. What is private in uvicorn is used in this package only.

Reading order: `protocol`, `head`, `framing`, `cycles`, `half_closed`, `closing`, `unread`,
`connection_limit`, `options`, `timer`.
"""
