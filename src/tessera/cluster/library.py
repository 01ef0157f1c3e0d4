"""Ray, Ray Serve, and aiohttp, which Ray Serve brings along."""

# pyright: reportMissingImports=false, reportUnknownVariableType=false, reportUnknownMemberType=false

from typing import Any, TypeAlias

import aiohttp as _aiohttp
from ray.serve import request_router as _router
from yarl import URL as _Url

import ray as _ray
from ray import serve as _serve

Foreign: TypeAlias = Any
"""Something of these libraries. Its type is unknown to the type checker: an environment for development does
not have them.
"""

aiohttp: Foreign = _aiohttp
ray: Foreign = _ray
serve: Foreign = _serve
RequestRouter: Foreign = _router.RequestRouter
Url: Foreign = _Url
