"""GET /v1/models and GET /v1/models/{id}; ids hold slashes."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tessera.models import Catalog
from tessera.wire.cards import encode_card, encode_cards


def model_routes(catalog: Catalog) -> list[Route]:
    """The routes of the model list."""

    async def list_models(request: Request) -> Response:
        return Response(encode_cards(catalog.names()), media_type="application/json")

    async def one_model(request: Request) -> Response:
        name = str(request.path_params["id"])
        return Response(encode_card(name, catalog.find(name)), media_type="application/json")

    return [Route("/v1/models", list_models), Route("/v1/models/{id:path}", one_model)]
