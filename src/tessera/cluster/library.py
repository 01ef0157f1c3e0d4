"""Ray and Ray Serve. They are typed as `Any`: an environment for development does not have them."""

from typing import Any

import ray as _ray  # pyright: ignore[reportMissingImports]
from ray import serve as _serve  # pyright: ignore[reportMissingImports, reportUnknownVariableType]

ray: Any = _ray
serve: Any = _serve  # pyright: ignore[reportUnknownVariableType]
