"""The limits of a server with the default settings, and changes of them."""

from dataclasses import replace
from typing import Any

from tessera.http.limits import HttpLimits
from tessera.server import wiring
from tessera.settings import Settings

LIMITS = wiring.limits(Settings())


def http_limits(**changes: Any) -> HttpLimits:
    """The default limits with these changes."""
    return replace(LIMITS, **changes)
