"""Ray, Ray Serve and aiohttp, which Ray Serve brings along. They are typed as `Any`: an environment for
development does not have them.
"""

from typing import Any

import aiohttp as _aiohttp  # pyright: ignore[reportMissingImports]
import ray as _ray  # pyright: ignore[reportMissingImports]
from ray import serve as _serve  # pyright: ignore[reportMissingImports, reportUnknownVariableType]
from ray.serve import request_router as _router  # pyright: ignore[reportMissingImports, reportUnknownVariableType]
from yarl import URL as _Url  # pyright: ignore[reportMissingImports, reportUnknownVariableType]  # noqa: N811

aiohttp: Any = _aiohttp
Url: Any = _Url
ray: Any = _ray
serve: Any = _serve  # pyright: ignore[reportUnknownVariableType]
RequestRouter: Any = _router.RequestRouter  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
