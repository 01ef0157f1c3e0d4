"""The endpoints besides chat, all of them GET: models, the caller's usage, and the state of the service."""

import time
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tessera.catalog import Catalog
from tessera.core.budgets import Spent
from tessera.errors import EngineUnavailable
from tessera.http.context import context_of
from tessera.http.errors import error_response
from tessera.http.inflight import InFlight
from tessera.usage.base import Ledger
from tessera.wire.cards import encode_card, encode_cards
from tessera.wire.usage import budget_rows, encode_usage, read_question


def model_routes(catalog: Catalog) -> list[Route]:
    """The routes of the models that the caller may use, with the context that its tier allows. Ids have
    slashes.
    """

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


def usage_route(ledger: Ledger) -> Route:
    """The route of the caller's own usage."""

    async def own_usage(request: Request) -> Response:
        identity = context_of(request.scope).required_permit.identity
        question = read_question(request.query_params, identity.account)
        sums = await ledger.add_up(question)
        spent: Mapping[str, Spent] = {}
        if identity.budgets:
            spent = await ledger.spent(identity.account)
        body = encode_usage(question, sums, budget_rows(identity.budgets, spent, time.time()))
        return Response(body, media_type="application/json")

    return Route("/v1/usage", own_usage)


def ops_routes(catalog: Catalog, in_flight: InFlight, ledger: Ledger) -> list[Route]:
    """The routes for supervisors and load balancers, which need no key: /healthz says that the process lives,
    /readyz that models can answer and that what they use can be recorded.
    """

    async def healthz(request: Request) -> Response:
        return Response(b'{"status":"ok"}', media_type="application/json")

    async def readyz(request: Request) -> Response:
        # Ready if any model is: a balancer must not give up the others for one whose engine has died.
        reasons = [model.engine.unready() for model in catalog.models()]
        of_models = reasons[0] if all(reasons) else None
        if (
            reason := "draining" if in_flight.leaving else of_models or ledger.unready()
        ):  # returned, not raised: probes come every second, and must not fill the log
            return error_response(EngineUnavailable(f"Not ready: {reason}.", code=reason, retry_after_s=2))
        return Response(b'{"status":"ready"}', media_type="application/json")

    return [Route("/healthz", healthz), Route("/readyz", readyz)]
