"""What several programs ask the model to fill in."""

from typing import Literal

from pydantic import BaseModel


class Report(BaseModel):
    """What the sky does."""

    sky: Literal["sun", "rain"]
    days: int | None
