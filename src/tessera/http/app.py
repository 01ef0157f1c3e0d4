"""The ASGI application: routes, and the middleware around them."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Route

from tessera.http.chat import ChatCompletions
from tessera.http.cors import Cors
from tessera.http.errors import refusing_routes
from tessera.http.middleware import Envelope, KeyRequired
from tessera.http.routes import model_routes, ops_routes, usage_route
from tessera.http.service import Service
from tessera.http.web.pages import Pages
from tessera.http.web.site import Site


def build_app(service: Service) -> Starlette:
    """The application. It starts and closes the service, which is in `app.state.service`.

    Engines may still be starting: until they are ready, /readyz and chat answer 503.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None]:
        await service.start()
        yield
        await service.aclose()

    app = Starlette(
        routes=[
            Route("/v1/chat/completions", ChatCompletions(service), methods=["POST"]),
            *model_routes(service.catalog),
            usage_route(service.ledger),
            *ops_routes(service.catalog, service.in_flight, service.ledger),
        ],
        middleware=[
            Middleware(Envelope, metrics=service.metrics),
            # Preflight requests have no key.
            *([Middleware(Cors, origins=service.origins)] if service.origins else []),
            # Pages are read without a key.
            *([Middleware(Pages, site=Site())] if service.web else []),
            Middleware(KeyRequired, keys=service.keys, limiter=service.limiter, metrics=service.metrics),
        ],
        exception_handlers={HTTPException: refusing_routes("The service is POST /v1/chat/completions.")},
        lifespan=lifespan,
    )
    # A redirect would be built from the Host header, and a path with a slash too many is a 404.
    app.router.redirect_slashes = False
    app.state.service = service
    return app
