"""The page on clients has all of the table of clients, in both languages."""

import re
from pathlib import Path

import pytest
from tests.clients.page import BEGIN, DROPPED, END, HEADS, NO, NOT_TRIED, YES
from tests.clients.table import CHECKS, CLIENTS, ERRORS

DOCS = Path(__file__).parents[2] / "docs"
LANGUAGES = pytest.mark.parametrize("language", ["en", "es"])


def rows(text: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line[:2] == "| "
    ]


def parts(language: str) -> tuple[str, str]:
    """What is written by hand, and what a run wrote."""
    text = (DOCS / language / "clients.md").read_text()
    before, _, rest = text.partition(BEGIN)
    made, _, after = rest.partition(END)
    return before + after, made


@LANGUAGES
def test_every_client_has_a_row_of_what_to_set(language: str) -> None:
    _, *shown = rows(parts(language)[0])
    assert [title for title, _, _ in shown] == [client.title for client in CLIENTS]
    assert all(setting and note for _, setting, note in shown)


@LANGUAGES
def test_every_client_has_a_row_of_what_was_tried(language: str) -> None:
    made = rows(parts(language)[1])
    assert [row[:2] for row in made if len(row) == len(CHECKS) + 2] == [
        HEADS[language].split("|")[:2],
        *([client.title, client.version] for client in CLIENTS),
    ]
    assert [row[0] for row in made if len(row) == len(ERRORS) + 1] == [
        HEADS[language].split("|")[0],
        *(client.title for client in CLIENTS),
    ]


def test_both_languages_tell_of_the_same_run() -> None:
    english, spanish = (rows(parts(language)[1]) for language in ("en", "es"))
    inverse = {DROPPED["es"]: DROPPED["en"]}
    spanish = [[inverse.get(cell, cell) for cell in row] for row in spanish]
    headless = [row for row in english if row[0] != "client"]
    assert headless == [row for row in spanish if row[0] != "cliente"]
    cells = {cell for row in headless for cell in row[2:]}
    assert {cell for cell in cells if not re.fullmatch(r"`\w+`|\d\S+", cell)} <= {
        YES,
        NOT_TRIED,
        DROPPED["en"],
    }
    assert NO not in cells
