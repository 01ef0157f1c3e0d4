"""What pages say beside the documentation itself, in each language."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, TypeAlias

Language: TypeAlias = Literal["en", "es"]

LANGUAGES: Mapping[Language, str] = MappingProxyType({"en": "English", "es": "Español"})

WORDS: Mapping[Language, Mapping[str, str]] = MappingProxyType(
    {
        "en": {
            "docs": "Documentation",
            "playground": "Playground",
            "usage": "Usage",
            "console": "Console",
            "reference": "API reference",
            "about_reference": "Every endpoint and field, from the OpenAPI document of this server. "
            'The <a href="/docs/en/api">pages of the API</a> explain them.',
            "about": "Everything about this server, in the version that is running.",
            "contents": "Pages",
            "n_pages": "pages",
            "on_this_page": "On this page",
            "main": "Main navigation",
            "skip": "Skip to the content",
            "search": "Search the documentation",
            "no_results": "Nothing found.",
            "results": "results",
            "theme": "Light or dark",
            "copy": "Copy",
            "copied": "Copied",
            "table": "Table",
            "as_markdown": "This page as Markdown",
            "as_openapi": "As OpenAPI",
            "language": "Language",
            "version": "Version",
            "no_script": "This page needs JavaScript.",
            "not_found": "There is no such page",
            "not_found_text": "The page may have another name in this version. "
            'The <a href="/docs/en/">index</a> lists all pages.',
            "concepts": "Concepts",
            "endpoints": "Endpoints",
            "schemas": "Objects",
            "body": "Request body",
            "responses": "Responses",
            "parameters": "Parameters",
            "field": "Field",
            "type": "Type",
            "description": "Description",
            "required": "required",
            "length": "length",
            "items": "items",
            "properties": "properties",
            "pattern": "pattern",
            "list_of": "list of",
            "any": "any",
            "try_it": "Try it in the playground",
            "fill_key": "Put my key into the examples",
            "key": "API key",
            "key_hint": "It stays in this page.",
            "key_refused": "The server does not accept this key.",
        },
        "es": {
            "docs": "Documentación",
            "playground": "Playground",
            "usage": "Uso",
            "console": "Consola",
            "reference": "Referencia de la API",
            "about_reference": "Todos los endpoints y campos, según el documento OpenAPI de este servidor. "
            'Las <a href="/docs/es/api">páginas de la API</a> los explican.',
            "about": "Todo sobre este servidor, en la versión que está en marcha.",
            "contents": "Páginas",
            "n_pages": "páginas",
            "on_this_page": "En esta página",
            "main": "Navegación principal",
            "skip": "Saltar al contenido",
            "search": "Buscar en la documentación",
            "no_results": "No se ha encontrado nada.",
            "results": "resultados",
            "theme": "Claro u oscuro",
            "copy": "Copiar",
            "copied": "Copiado",
            "table": "Tabla",
            "as_markdown": "Esta página en Markdown",
            "as_openapi": "En formato OpenAPI",
            "language": "Idioma",
            "version": "Versión",
            "no_script": "Esta página necesita JavaScript.",
            "not_found": "Esa página no existe",
            "not_found_text": "Puede que en esta versión se llame de otra manera. "
            'El <a href="/docs/es/">índice</a> las tiene todas.',
            "concepts": "Conceptos",
            "endpoints": "Endpoints",
            "schemas": "Objetos",
            "body": "Cuerpo de la petición",
            "responses": "Respuestas",
            "parameters": "Parámetros",
            "field": "Campo",
            "type": "Tipo",
            "description": "Descripción",
            "required": "obligatorio",
            "length": "longitud",
            "items": "elementos",
            "properties": "propiedades",
            "pattern": "patrón",
            "list_of": "lista de",
            "any": "cualquiera",
            "try_it": "Probarlo en el playground",
            "fill_key": "Poner mi clave en los ejemplos",
            "key": "Clave de API",
            "key_hint": "No sale de esta página.",
            "key_refused": "El servidor no acepta esta clave.",
        },
    }
)


REASONS_IN_SPANISH: Mapping[str, str] = MappingProxyType(
    {
        "within the schema; a cycle must pass through a property or an item": (
            "dentro del esquema; un ciclo tiene que pasar por una propiedad o por un elemento de lista"
        ),
        "when no value can fit two branches; else relaxed": (
            "si ningún valor puede cumplir dos ramas; si no, se relaja"
        ),
        "in this order": "en este orden",
        "when the patterns exclude each other": "si los patrones se excluyen entre sí",
        "0, 1 or what `required` implies; else relaxed": (
            "si es 0, 1 o lo que implica `required`; si no, se relaja"
        ),
        "when every property is required; else relaxed": (
            "si todas las propiedades son obligatorias; si no, se relaja"
        ),
        "of objects without `properties`: strings with rules; else relaxed": (
            "en objetos sin `properties`: cadenas con reglas; si no, se relaja"
        ),
        "what a linear automaton can follow; else relaxed": (
            "lo que puede seguir un autómata lineal; si no, se relaja"
        ),
        "the formats of the table; a few are relaxed, unknown ones are annotations": (
            "los formatos de la tabla; algunos se relajan y los desconocidos son anotaciones"
        ),
        "a grammar cannot remember the items": "una gramática no puede recordar los elementos",
        "a grammar goes from left to right and cannot know what comes later": (
            "una gramática avanza de izquierda a derecha y no puede saber qué vendrá después"
        ),
        "what it means depends on who refers": "lo que significa depende de quién hace la referencia",
        "what $ref finds there is kept": "lo que señala un $ref sí se aplica",
        "": "",
    }
)
"""What `schemas.keywords` says of the treatment of a keyword."""


def other(language: Language) -> Language:
    """The language that a page can be switched to."""
    return "es" if language == "en" else "en"


def preferred(accept_language: str) -> Language:
    """The language that a browser's Accept-Language prefers; English if it names neither."""
    best: tuple[float, Language] = (0.0, "en")
    for part in accept_language[:1000].split(","):
        name, _, weight = part.strip().partition(";")
        language = name.strip().lower().partition("-")[0]
        try:
            quality = float(weight.strip().removeprefix("q=")) if weight else 1.0
        except ValueError:
            continue
        if language in LANGUAGES and quality > best[0]:
            best = (quality, "es" if language == "es" else "en")
    return best[1]
