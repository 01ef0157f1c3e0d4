"""How values are made that come by the thousand: one or more for every token."""

from dataclasses import dataclass
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def value(cls: type[T]) -> type[T]:
    """Makes a dataclass that is frozen for the type checker only.

    If it were frozen at run time too, each field would be set by a call, and making a chunk of tokens would
    take longer than everything else that is done with it.
    """
    return dataclass(slots=True, unsafe_hash=True)(cls)
