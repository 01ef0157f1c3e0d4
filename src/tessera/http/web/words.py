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
            "about": "Everything about this server, in the version that is running.",
            "contents": "Pages",
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
            "not_found_text": "The page may have another name in this version. The index has all of them.",
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
            "try_it": "Try it in the playground",
            "fill_key": "Put my key and this address into the examples",
        },
        "es": {
            "docs": "Documentación",
            "playground": "Playground",
            "usage": "Uso",
            "console": "Consola",
            "reference": "Referencia de la API",
            "about": "Todo sobre este servidor, en la versión que está en marcha.",
            "contents": "Páginas",
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
            "not_found_text": "Puede que en esta versión se llame de otra manera. El índice las tiene todas.",
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
            "try_it": "Probarlo en el playground",
            "fill_key": "Poner mi clave y esta dirección en los ejemplos",
        },
    }
)


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
