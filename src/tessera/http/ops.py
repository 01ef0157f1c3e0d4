"""GET /healthz says that the process lives, GET /readyz that models can answer. Neither needs a key."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tessera.catalog import Catalog
from tessera.errors import EngineUnavailable
from tessera.http.errors import error_response
from tessera.http.inflight import InFlight


def ops_routes(catalog: Catalog, in_flight: InFlight) -> list[Route]:
    """The routes for supervisors and load balancers."""

    async def healthz(request: Request) -> Response:
        return Response(b'{"status":"ok"}', media_type="application/json")

    async def readyz(request: Request) -> Response:
        # Ready if any model is: a balancer must not give up the others for one whose engine has died.
        reasons = [model.engine.unready() for model in catalog.models()]
        reason = "draining" if in_flight.leaving else reasons[0] if all(reasons) else None
        if reason:  # returned, not raised: probes come every second, and must not fill the log
            return error_response(EngineUnavailable(f"Not ready: {reason}.", code=reason, retry_after_s=2))
        return Response(b'{"status":"ready"}', media_type="application/json")

    return [Route("/healthz", healthz), Route("/readyz", readyz)]
