"""`tessera deploy`: the same service on a cluster, as applications of Ray Serve.

A model is one application with one deployment. A replica of it holds the ASGI application and the engine
together, so no token crosses from one actor to another. A front is the one address of all models. The only
package that imports Ray.

Reading order: `plan`, `replica` with `holds`, `front` with `relay`, `upstream`, `asking` and `relayed`,
`routing` with `affinity`; then `requirements`, `connection`, `applications`, `admin`, `manifest`.
"""
