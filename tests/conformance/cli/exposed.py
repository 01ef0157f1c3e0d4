"""What expressions of PromQL ask for, compared with what a service exposes."""

import re
from collections.abc import Mapping

BY_PROMETHEUS = {"job", "instance"}

Labels = Mapping[str, set[str]]
"""The labels of each exposed metric."""


def asked_for(expression: str) -> dict[str, set[str]]:
    """The metrics that the expression names, each with the labels that it uses."""
    grouped = {
        label.strip() for group in re.findall(r"\bby \(([^)]*)\)", expression) for label in group.split(",")
    }
    shown = set(re.findall(r"^label_values\(.*, (\w+)\)$", expression))
    return {
        name: {*re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*"', matchers), *grouped, *shown}
        for name, matchers in re.findall(r"(tessera_\w+)(?:\{([^}]*)\})?", expression)
    }


def missing(expression: str, labels: Labels) -> list[str]:
    """The metrics and labels of the expression that do not exist."""
    asked = asked_for(expression)
    gone = [name for name in asked if name not in labels]
    known = {name: labels[name] | BY_PROMETHEUS for name in asked if name in labels}
    return gone + [f"{name}: {label}" for name in known for label in asked[name] - known[name]]
