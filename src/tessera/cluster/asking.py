"""How a front asks a replica: it announces the request through Ray Serve, which chooses the replica, and
sends it to that replica's HTTP listener.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

from tessera.cluster.library import Foreign, Url, aiohttp, ray, serve
from tessera.cluster.relayed import HEADER, Relayed, sign
from tessera.cluster.replica import DEPLOYMENT
from tessera.cluster.upstream import Outgoing, ReplicaLost
from tessera.errors import EngineOverloaded, EngineTimeout, EngineUnavailable

CONNECT_S = 10.0
LAST_BYTES_S = 5.0
KEEP_ALIVE_S = 30.0
"""Shorter than a replica keeps an idle connection: it must not close one that is just used again."""


class HttpAnswer:
    """A `ReplicaAnswer` that comes over HTTP."""

    def __init__(self, response: Foreign) -> None:
        self._response = response
        self.status: int = response.status
        self.headers: Sequence[tuple[bytes, bytes]] = response.raw_headers
        self.is_stream: bool = response.content_type == "text/event-stream"

    async def parts(self) -> AsyncIterator[bytes]:
        """The body, as much at a time as there is. Raises `ReplicaLost`."""
        try:
            async for part in self._response.content.iter_any():
                yield part
        except (aiohttp.ClientError, OSError) as error:
            raise ReplicaLost from error


class ServedReplicas:
    """`Replicas` that Ray Serve runs."""

    def __init__(self, key: bytes, deadline_s: float) -> None:
        """`key` is that of `relayed`. A request waits for a replica for `deadline_s` at most."""
        self._key = key
        self._deadline_s = deadline_s
        self._handles: dict[str, Foreign] = {}
        self._session: Foreign = None
        self._ending: set[asyncio.Task[bool]] = set()

    async def start(self) -> None:
        self._session = aiohttp.ClientSession(
            auto_decompress=False,
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("Accept-Encoding", "Content-Type", "User-Agent"),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
            read_bufsize=2**16,
        )

    async def aclose(self) -> None:
        await self._session.close()

    @asynccontextmanager
    async def asked(self, application: str, outgoing: Outgoing) -> AsyncGenerator[HttpAnswer]:
        call = self._handle(application).hold.remote(list(outgoing.hashes))
        url, hold = await self._announced(call)
        relayed = Relayed(hold, outgoing.reply, outgoing.client)
        following = asyncio.create_task(_follow(call))
        self._ending.add(following)
        following.add_done_callback(self._ending.discard)
        try:
            response = await self._session.request(
                outgoing.method,
                # As it was sent: a replica decides by the path that the client wrote.
                Url(url + outgoing.path, encoded=True),
                headers=[*outgoing.headers, (HEADER, sign(self._key, relayed))],
                data=outgoing.body or None,
                allow_redirects=False,
            )
        except (aiohttp.ClientError, OSError) as error:
            call.cancel()
            raise ReplicaLost from error
        following.add_done_callback(partial(_close_if_lost, response))
        try:
            yield HttpAnswer(response)
        finally:
            if response.content.at_eof():
                response.release()  # the connection can be used again
            else:
                response.close()

    async def _announced(self, call: Foreign) -> tuple[str, str]:
        try:
            async with asyncio.timeout(self._deadline_s):
                return await anext(call)
        except TimeoutError:
            call.cancel()
            raise EngineTimeout("No replica was ready in time. Send the request again.") from None
        except asyncio.CancelledError:
            call.cancel()
            raise
        except serve.exceptions.BackPressureError:
            raise EngineOverloaded(
                "All replicas of this model are busy. Send the request again.", retry_after_s=1
            ) from None
        except serve.exceptions.DeploymentUnavailableError:
            raise EngineUnavailable(
                "No replica of this model can start now. Send the request again.", retry_after_s=5
            ) from None
        except (ray.exceptions.RayError, StopAsyncIteration) as error:
            raise ReplicaLost from error

    def _handle(self, application: str) -> Foreign:
        if application not in self._handles:
            handle = serve.get_deployment_handle(DEPLOYMENT, application)
            self._handles[application] = handle.options(stream=True)
        return self._handles[application]


async def _follow(call: Foreign) -> bool:
    """Returns when the replica has ended the request, or whether Ray has noticed that it is lost."""
    try:
        async for _ in call:
            pass
    except ray.exceptions.RayError:
        return True
    return False


def _close_if_lost(response: Foreign, following: "asyncio.Task[bool]") -> None:
    """A node that vanished closes no connection. The last bytes of a replica may still be on their way."""
    if not following.cancelled() and following.result():
        asyncio.get_running_loop().call_later(LAST_BYTES_S, response.close)
