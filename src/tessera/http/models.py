"""GET /v1/models and GET /v1/models/{id}; ids hold slashes."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tessera.catalog import Catalog
from tessera.http.context import context_of
from tessera.wire.cards import encode_card, encode_cards


def model_routes(catalog: Catalog) -> list[Route]:
    """The routes of the models that the caller may use, with the context that its tier allows."""

    async def list_models(request: Request) -> Response:
        permit = context_of(request.scope).required_permit
        listed = catalog.names(permit.identity.models)
        body = encode_cards(listed, permit.identity.tier.context_tokens)
        return Response(body, media_type="application/json")

    async def one_model(request: Request) -> Response:
        permit = context_of(request.scope).required_permit
        name = str(request.path_params["id"])
        model = catalog.find(name, permit.identity.models)
        permit.require_model(catalog.names_of(model))
        body = encode_card(name, model, permit.identity.tier.context_tokens)
        return Response(body, media_type="application/json")

    return [Route("/v1/models", list_models), Route("/v1/models/{id:path}", one_model)]
