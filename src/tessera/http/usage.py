"""GET /v1/usage: what the caller's account has used."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tessera.http.context import context_of
from tessera.usage.base import Ledger
from tessera.wire.usage import encode_usage, read_question


def usage_route(ledger: Ledger) -> Route:
    """The route of the caller's own usage."""

    async def own_usage(request: Request) -> Response:
        identity = context_of(request.scope).required_permit.identity
        question = read_question(request.query_params, identity.account)
        body = encode_usage(question, await ledger.add_up(question))
        return Response(body, media_type="application/json")

    return Route("/v1/usage", own_usage)
