"""GET /v1/models and GET /v1/models/{id}; ids hold slashes."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tessera.catalog import Catalog
from tessera.http.context import context_of
from tessera.wire.cards import encode_card, encode_cards


def model_routes(catalog: Catalog) -> list[Route]:
    """The routes of the model list: it shows what the caller may use, and how much of it."""

    async def list_models(request: Request) -> Response:
        visit = context_of(request.scope).caller
        listed = [(name, model) for name, model in catalog.names() if visit.permits(catalog.names_of(model))]
        body = encode_cards(listed, visit.identity.tier.context_tokens)
        return Response(body, media_type="application/json")

    async def one_model(request: Request) -> Response:
        visit = context_of(request.scope).caller
        name = str(request.path_params["id"])
        model = catalog.find(name)
        visit.permit(catalog.names_of(model))
        body = encode_card(name, model, visit.identity.tier.context_tokens)
        return Response(body, media_type="application/json")

    return [Route("/v1/models", list_models), Route("/v1/models/{id:path}", one_model)]
