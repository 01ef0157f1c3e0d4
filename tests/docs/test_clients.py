"""The pages on clients have all of the table of clients, in both languages."""

import re
from pathlib import Path

import pytest
from tests.clients.documented import programs
from tests.clients.page import BEGIN, DROPPED, END, HEADS, NO, NOT_TRIED, YES
from tests.clients.table import CHECKS, CLIENTS, ERRORS, Client

DOCS = Path(__file__).parents[2] / "docs"
LANGUAGES = pytest.mark.parametrize("language", ["en", "es"])


def rows(text: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line[:2] == "| "
    ]


def parts(language: str) -> tuple[str, str]:
    """The part of the page that is written by hand, and the part that a run wrote."""
    text = (DOCS / language / "clients.md").read_text()
    before, _, rest = text.partition(BEGIN)
    made, _, after = rest.partition(END)
    return before + after, made


@LANGUAGES
def test_every_client_has_a_row_of_what_to_set(language: str) -> None:
    _, *shown = rows(parts(language)[0])
    assert [cell for cell, _ in shown] == [f"[{client.title}]({client.page})" for client in CLIENTS]
    assert all(setting for _, setting in shown)


@LANGUAGES
def test_every_client_has_a_page_and_every_page_a_client(language: str) -> None:
    pages = {f"clients/{path.name}" for path in (DOCS / language / "clients").glob("*.md")}
    assert pages == {client.page for client in CLIENTS}


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_the_page_of_a_client_has_what_to_run(client: Client) -> None:
    """A program, which the matrix runs, or commands that configure an agent."""
    has_program = client.probe != "with_agents.py"
    assert len(programs(client)) == has_program
    text = (DOCS / "en" / client.page).read_text()
    assert "http://127.0.0.1:8000/v1" in text
    assert "TESSERA_API_KEY" in text
    name, at, _ = client.packages[0].rpartition("@")
    package = name if client.source == "npm" and at else re.split("[=<]", client.packages[0])[0]
    assert package in text


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
