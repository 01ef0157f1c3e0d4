"""The states of the parser, and every way from one to another.

    REASONING ⇄ ANSWER ⇄ CALL → PARAMETER_NAME → PARAMETER_VALUE → CALL

A tag that may open a call, or the next parameter, changes nothing by itself: what follows it is held until it
decides (`opening`). Calls in JSON are read in the state CALL alone; calls in XML have states for their
parameters.
"""

from collections.abc import Mapping
from enum import Enum, auto
from types import MappingProxyType


class State(Enum):
    """What the text that comes next belongs to."""

    REASONING = auto()
    ANSWER = auto()
    CALL = auto()
    PARAMETER_NAME = auto()
    PARAMETER_VALUE = auto()


class Event(Enum):
    """What the parser found in the output."""

    REASONING_OPENED = auto()
    REASONING_CLOSED = auto()
    ANSWER_BEGUN = auto()
    """The first visible character: from here on, reasoning tags are text."""
    CALL_CONFIRMED = auto()
    """A call tag and the name of a tool that may be called."""
    CALL_ENDED = auto()
    PARAMETER_OPENED = auto()
    PARAMETER_NAMED = auto()
    PARAMETER_DROPPED = auto()
    """It has no name, or was given before."""
    VALUE_ENDED = auto()


TRANSITIONS: Mapping[State, Mapping[Event, State]] = MappingProxyType(
    {
        State.REASONING: {
            Event.REASONING_CLOSED: State.ANSWER,
            Event.CALL_CONFIRMED: State.CALL,  # models forget to close the reasoning before they call
        },
        State.ANSWER: {
            Event.REASONING_OPENED: State.REASONING,
            Event.ANSWER_BEGUN: State.ANSWER,
            Event.CALL_CONFIRMED: State.CALL,
        },
        State.CALL: {
            Event.CALL_ENDED: State.ANSWER,
            Event.PARAMETER_OPENED: State.PARAMETER_NAME,
        },
        State.PARAMETER_NAME: {
            Event.PARAMETER_NAMED: State.PARAMETER_VALUE,
            Event.PARAMETER_DROPPED: State.CALL,
        },
        State.PARAMETER_VALUE: {
            Event.VALUE_ENDED: State.CALL,
            Event.PARAMETER_NAMED: State.PARAMETER_VALUE,  # models forget to close a value
        },
    }
)
