"""HTTP: the endpoints, and what they need between ASGI and the pipeline. Only it and `server` know
Starlette.
"""
