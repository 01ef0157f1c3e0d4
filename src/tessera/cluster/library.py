"""Ray, Ray Serve, and aiohttp, which Ray Serve brings along. They are typed as `Any`: an environment for
development does not have them.
"""

# pyright: reportMissingImports=false, reportUnknownVariableType=false, reportUnknownMemberType=false

from typing import Any

import aiohttp as _aiohttp
from ray.serve import request_router as _router
from yarl import URL as _Url

import ray as _ray
from ray import serve as _serve

aiohttp: Any = _aiohttp
ray: Any = _ray
serve: Any = _serve
RequestRouter: Any = _router.RequestRouter
Url: Any = _Url
