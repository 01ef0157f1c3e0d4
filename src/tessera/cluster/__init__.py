"""`tessera deploy`: the same service on a cluster, as applications of Ray Serve.

A model is one application with one deployment. A replica of it holds the ASGI application and the engine
together, so no token crosses from one actor to another. The only package that imports Ray.

Reading order: `plan`, `replica`, `requirements`, `connection`, `applications`, `manifest`.
"""
