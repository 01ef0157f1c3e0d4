"""One HTTP/1.1 connection below ASGI: framing, caps and deadlines."""
