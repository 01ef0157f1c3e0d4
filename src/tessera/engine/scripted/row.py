"""The scripted engine's row: it needs no weights and no process."""

import time

from tessera.engine.row import EngineRow, InProcess
from tessera.engine.scripted.engine import ScriptedEngine, ScriptedTokenizer, cycling, paced, thinking_first
from tessera.engine.scripted.grammar_replies import GrammarReplies
from tessera.models.cache import Cache
from tessera.models.progress import Progress
from tessera.models.source import ModelSource
from tessera.parsing.syntax import Syntax
from tessera.settings import Settings
from tessera.text.tokenizer import Tokenizer

_CONTEXT_TOKENS = 32_768


def _prepare(settings: Settings, cache: Cache, progress: Progress) -> ModelSource:
    return ModelSource(
        model_id="tessera/scripted",
        created_s=int(time.time()),
        context_tokens=settings.context_tokens or _CONTEXT_TOKENS,
        family="hermes",
    )


def _tokenizer(settings: Settings, source: ModelSource) -> ScriptedTokenizer:
    return ScriptedTokenizer()


def _build(settings: Settings, source: ModelSource, tokenizer: Tokenizer, syntax: Syntax) -> ScriptedEngine:
    script = cycling(tokenizer)
    return ScriptedEngine(
        tokenizer,
        thinking_first(tokenizer, script, syntax.reasoning) if syntax.reasoning else script,
        timing=paced(settings.scripted_tokens_per_s),
        model_id=settings.model_name or source.model_id,
        context_tokens=source.context_tokens,
        replies=GrammarReplies(tokenizer),
    )


SCRIPTED = EngineRow(_prepare, _tokenizer, InProcess(_build))
