"""How text is cut into words before byte pairs are merged, by the name that GGUF files give it.

The names are llama.cpp's, the patterns those of each family's own tokenizer.json. llama.cpp writes some of
them differently, because its regular expressions know fewer classes. Where the two disagree the family's own
cut is used, since the model was trained with it: Qwen composes characters (NFC), and the words of GPT-4o,
Llama 4 and Tekken hold combining marks.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Splitting:
    """The patterns apply one after the other, each to the pieces that the one before left."""

    patterns: tuple[str, ...]
    nfc: bool = False
    whole_words: bool = False  # a word that is a token is not merged


_CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_BLANKS = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*" + _BLANKS
_WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_UPPER_NOT_HAN = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]"
_LOWER_NOT_HAN = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]"
_KANA_AND_HAN = "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
_PUNCTUATED = r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
# Escaped: some of these characters turn into others when a text is normalised.
_CASED_LETTERS = (
    "A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af"
    "\u0370-\u0373\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5"
    "\u03f7-\u0481\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba"
    "\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45"
    "\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe"
    "\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc"
    "\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139"
    "\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3"
    "\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06"
    "\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a\U00010400-\U0001044f\U000104b0-\U000104d3"
    "\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-\U00010cf2\U000118a0-\U000118df"
    "\U0001e900-\U0001e943"
)


def _cased(digits: str, *, contraction: str = "", upper: str = _UPPER, lower: str = _LOWER) -> str:
    """Words are cut before a capital that follows a small letter."""
    start = r"[^\r\n\p{L}\p{N}]?"
    return (
        rf"{start}{upper}*{lower}+{contraction}|{start}{upper}+{lower}*{contraction}|{digits}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n/]*" + _BLANKS
    )


_PLAIN = Splitting((_GPT2,))
_DIGITWISE = Splitting((r"\p{N}", _GPT2))
_LLAMA3_PATTERN = rf"{_CONTRACTION}|{_WORD}|\p{{N}}{{1,3}}{_REST}"
_LLAMA3 = Splitting((_LLAMA3_PATTERN,), whole_words=True)
_LLAMA3_MERGED = Splitting((_LLAMA3_PATTERN,))
_QWEN2_PATTERN = rf"{_CONTRACTION}|{_WORD}|\p{{N}}{_REST}"
_QWEN2 = Splitting((_QWEN2_PATTERN,), nfc=True)
_QWEN2_UNCOMPOSED = Splitting((_QWEN2_PATTERN,))
_QWEN35 = Splitting(
    (
        rf"{_CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}"
        r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*" + _BLANKS,
    ),
    nfc=True,
)
_O200K = Splitting((_cased(r"\p{N}{1,3}", contraction=f"{_CONTRACTION}?"),))
_TEKKEN = Splitting((_cased(r"\p{N}"),), whole_words=True)
_DEEPSEEK_V3 = Splitting(
    (
        r"\p{N}{1,3}",
        _KANA_AND_HAN,
        _PUNCTUATED + r"| ?[\p{P}\p{S}]+[\r\n]*" + _BLANKS,
    )
)
_DEEPSEEK_LLM = Splitting(
    (
        r"[\r\n]",
        rf"\s?[{_CASED_LETTERS}]+",
        "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+",
        r"\s+$",
        "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+",
        r"\p{N}+",
    )
)
_DEEPSEEK_CODER = Splitting(
    (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+", r"\p{N}")
)
_KIMI_K2 = Splitting(
    (
        r"\p{Han}+|"
        + _cased(
            r"\p{N}{1,3}",
            contraction=f"{_CONTRACTION}?",
            upper=_UPPER_NOT_HAN,
            lower=_LOWER_NOT_HAN,
        ).replace(r"[\r\n/]*", r"[\r\n]*"),
    )
)
_BAILING = Splitting(
    (rf"'(?i:[sdmt]|ll|ve|re)|{_WORD}|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",)
)
_SEED = Splitting((rf"{_CONTRACTION}|{_WORD}|\p{{N}}| ?[^\s\p{{L}}\p{{N}}\r\n]+{_BLANKS}",))
_FALCON = Splitting((r"[\p{P}\$\+<=>\^~\|`]+", _GPT2, "[0-9][0-9][0-9]"))
_MINICPM5 = Splitting(
    (r"\p{N}{1,3}", rf"{_CONTRACTION}|{_WORD}|\p{{N}}+{_REST}"),
    whole_words=True,
)
_EXAONE_MOE = Splitting(
    (
        rf"{_CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?(?:\p{{L}}\p{{M}}*(?: \p{{L}}\p{{M}}*)*)+|\p{{N}}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+",
    )
)

SPLITTINGS: Mapping[str, Splitting] = {
    "default": Splitting((r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", "[0-9][0-9][0-9]")),
    **dict.fromkeys(
        ("gpt-2", "phi-2", "olmo", "mpt", "jais", "trillion", "granite-docling", "exaone4"), _PLAIN
    ),
    **dict.fromkeys(("gigachat", "a.x-4.0", "mellum"), _PLAIN),
    **dict.fromkeys(("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone"), _DIGITWISE),
    **dict.fromkeys(("minerva-7b", "mellum2"), _DIGITWISE),
    **dict.fromkeys(("llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral"), _LLAMA3),
    **dict.fromkeys(("midm-2.0", "lfm2", "glm4", "glm5"), _LLAMA3),
    **dict.fromkeys(("dbrx", "smaug-bpe", "chatglm-bpe"), _LLAMA3_MERGED),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen"), _QWEN2),
    **dict.fromkeys(("stablelm2", "hunyuan", "solar-open", "megrez", "grok-2", "kormo"), _QWEN2_UNCOMPOSED),
    "qwen35": _QWEN35,
    **dict.fromkeys(("gpt-4o", "llama4", "kanana2", "minimax-m2"), _O200K),
    "tekken": _TEKKEN,
    **dict.fromkeys(("deepseek-v3", "hunyuan-dense", "joyai-llm"), _DEEPSEEK_V3),
    "deepseek-llm": _DEEPSEEK_LLM,
    "deepseek-coder": _DEEPSEEK_CODER,
    "kimi-k2": _KIMI_K2,
    **dict.fromkeys(("bailingmoe", "bailingmoe2", "llada-moe"), _BAILING),
    "seed-coder": _SEED,
    "falcon": _FALCON,
    "minicpm5": _MINICPM5,
    "exaone-moe": _EXAONE_MOE,
}
