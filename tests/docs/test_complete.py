"""What a user can meet is documented, in both languages."""

import re
from pathlib import Path
from typing import get_args

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.error_codes import error_codes
from tests.openapi_admin import operator_routes

from tessera.catalog import Model
from tessera.cli.main import COMMANDS
from tessera.configuration import OTHER_VARIABLES
from tessera.core.generation import Feature
from tessera.engine.scripted.engine import ScriptedEngine, ScriptedTokenizer
from tessera.formats.hermes import HERMES
from tessera.formats.registry import FORMATS
from tessera.formats.template_families import TEMPLATE_FAMILIES
from tessera.grammars.turn import MAX_TOOLS_BYTES
from tessera.observe import exposition, metrics
from tessera.prompt.support import features
from tessera.schemas import bounds, patterns, string_formats
from tessera.schemas.keywords import KEYWORDS, Treatment
from tessera.settings import ROWS, Row
from tessera.store.database import open_database
from tessera.wire.decode import REFUSED, WITHOUT_EFFECT
from tessera.wire.request import Request

DOCS = Path(__file__).parents[2] / "docs"
CHAT = "api/chat-completions.md"
TREATMENTS: dict[str, dict[str, Treatment]] = {
    "en": {"enforced": "enforced", "relaxed": "relaxed", "annotation": "annotation"},
    "es": {"impuesta": "enforced", "relajada": "relaxed", "anotación": "annotation"},
}
LANGUAGES = pytest.mark.parametrize("language", ["en", "es"])


def page(language: str, name: str) -> str:
    return (DOCS / language / name).read_text()


@LANGUAGES
def test_every_error_is_in_the_api_pages(language: str) -> None:
    text = page(language, "api/errors.md") + page(language, "api/admin.md")
    assert len(error_codes()) > 10
    assert [code for code in error_codes() if f"`{code}`" not in text] == []


@LANGUAGES
def test_every_admin_route_is_in_the_admin_page(language: str, tmp_path: Path) -> None:
    store = open_database(f"sqlite:///{tmp_path / 'tessera.db'}")
    try:
        routes = operator_routes(store)
    finally:
        store.dispose()
    paths: list[str] = re.findall(r"`[A-Z]+ (/admin/[^`]+)`", page(language, "api/admin.md"))
    assert len(routes) > 8
    shown = {re.sub(r"\{\w+\}", "{}", path) for path in paths}
    assert {re.sub(r"\{\w+(:\w+)?\}", "{}", route.path) for route in routes} == shown


@LANGUAGES
def test_every_request_field_is_in_the_chat_page(language: str) -> None:
    fields = {*Request.__struct_fields__, *WITHOUT_EFFECT, *REFUSED}
    text = page(language, CHAT)
    known = {
        name
        for name in fields
        if f"`{name}`" in text or (name.startswith("guided_") and "`guided_*`" in text)
    }
    assert sorted(fields - known) == []


def schema_table(language: str) -> dict[str, list[str]]:
    """The cells after the first, for each keyword in the first."""
    rows = [line.split("|")[1:-1] for line in page(language, CHAT).splitlines() if line.startswith("|")]
    table = [[cell.strip() for cell in row] for row in rows if row[1].strip() in TREATMENTS[language]]
    return {keyword: cells for first, *cells in table for keyword in re.findall("`(.+?)`", first)}


@LANGUAGES
def test_every_schema_keyword_has_its_treatment_in_the_chat_page(language: str) -> None:
    shown = {
        keyword: TREATMENTS[language][treatment] for keyword, (treatment, _) in schema_table(language).items()
    }
    assert shown == {name: keyword.treatment for name, keyword in KEYWORDS.items()}


@LANGUAGES
def test_every_string_format_is_in_the_chat_page(language: str) -> None:
    kept, validated, *_ = schema_table(language)["format"][1].split(".")
    assert set(re.findall("`(.+?)`", kept)) == set(string_formats.FORMATS)
    assert set(re.findall("`(.+?)`", validated)) == string_formats.VALIDATED


@LANGUAGES
def test_the_bounds_of_schemas_are_in_the_chat_page(language: str) -> None:
    text = " ".join(page(language, CHAT).replace(".", ",").split())
    counts = [
        bounds.MAX_PROPERTIES,
        bounds.MAX_ENUM_VALUES,
        bounds.MAX_PATTERN_CHARACTERS,
        bounds.MAX_VALUES["maxLength"],
        bounds.MAX_VALUES["maxItems"],
        patterns.MAX_CHARACTERS,
    ]
    shown = [f" {count:,}" for count in counts]
    shown += [f" {size // 2**10} KiB" for size in (bounds.MAX_BYTES, MAX_TOOLS_BYTES)]
    shown.append(f" {bounds.MAX_NESTING} ")
    assert [number for number in shown if number not in text] == []


@LANGUAGES
def test_every_family_and_feature_is_in_the_models_page(language: str) -> None:
    text = page(language, "models.md")
    assert [name for name in (*FORMATS, *TEMPLATE_FAMILIES) if f"| `{name}` |" not in text] == []
    tokenizer = ScriptedTokenizer()
    engine = ScriptedEngine(tokenizer, features=get_args(Feature))
    able = Model("able", engine, tokenizer, HERMES, HERMES.sampling, created_s=0)
    assert [name for name in features(able) if f"`{name}`" not in text] == []


@LANGUAGES
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_setting_is_in_the_settings_page(language: str, row: Row) -> None:
    cells = [f"`{row.variable}`", *([] if row.secret else [f"`{row.flag}`"])]
    line = next((line for line in page(language, "settings.md").splitlines() if cells[0] in line), "")
    assert [cell for cell in cells if f"| {cell} |" not in line] == []
    assert shown_default(row) in line
    assert language != "en" or row.help in line


def shown_default(row: Row) -> str:
    match row.default:
        case None | ():
            return "| |"
        case bool(value):
            return f"| `{str(value).lower()}` |"
        case tuple(names):
            return f"| `{','.join(names)}` |"
        case int(size) if row.name.endswith("_bytes"):
            return f"| `{size // 2**30}GiB` |" if size >= 2**30 else f"| `{size // 2**20}MiB` |"
        case int(number) | float(number):
            return f"| `{number:g}` |"
        case text:
            return f"| `{text}` |"


@LANGUAGES
def test_every_other_variable_is_in_the_settings_page(language: str) -> None:
    text = page(language, "settings.md")
    assert [name for name in OTHER_VARIABLES if f"| `{name}` |" not in text] == []


@LANGUAGES
def test_every_command_is_in_the_operations_page(language: str) -> None:
    text = page(language, "operations.md")
    assert [name for name in COMMANDS if f"| `tessera {name}` |" not in text] == []


@LANGUAGES
def test_every_metric_is_in_the_monitoring_page(language: str) -> None:
    counts = dict.fromkeys([key for key, _, _ in (*exposition.ENGINE_GAUGES, *exposition.ENGINE_COUNTERS)], 1)
    counts |= {"blocks_used": 1, "blocks_total": 2}
    shown = exposition.exposition(
        metrics.Metrics(), lambda: {"m": counts}, parent=exposition.ParentMetrics(DOCS)
    )()
    names = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in text_string_to_metric_families(shown.decode())
        if not family.name.endswith("_created")
    }
    assert len(names) > 15
    assert set(re.findall(r"`(tessera_\w+)`", page(language, "operations/monitoring.md"))) == names
