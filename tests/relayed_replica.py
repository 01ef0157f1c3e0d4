"""A replica as a process without Ray: `python -m tests.relayed_replica`, with the settings as variables.

It prints its URL. Nothing announces requests to it.
"""

import asyncio
import os

from tessera.cluster.holds import Holds
from tessera.cluster.relayed import Relaying, relay_key
from tessera.configuration import load
from tessera.server.admin import serving_admin
from tessera.server.api import UVICORN
from tessera.server.asgi import create_app
from tessera.server.sockets import address, bind, listen
from tessera.server.storage import pepper


async def serve() -> None:
    """Until the process is killed."""
    settings = load({}, os.environ)
    app = create_app(settings)
    with bind("127.0.0.1", 0, "nothing") as listener:
        listen(listener)
        relaying = Relaying(app, relay_key(pepper(settings)), Holds())
        async with app.router.lifespan_context(app), serving_admin(relaying, listener, UVICORN):
            print(address(listener), flush=True)
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve())
