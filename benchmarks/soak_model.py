"""A model of random weights whose calls are XML: the soak's second one, since the embedded one writes JSON.

Its template is as much of Qwen3's as is needed to be recognised as that family.
"""

from dataclasses import replace
from pathlib import Path

from gguf import TokenType
from tests.tiny_model import byte_words, write_gguf

_TEMPLATE = """\
{%- set asked = namespace(last=0) %}
{%- for message in messages if message.role == 'user' %}
{%- set asked.last = messages.index(message) %}
{%- endfor %}
{%- for message in messages %}
{%- set text = (message.content or '')|trim %}
{%- if message.role == 'tool' %}
{{- '<|im_start|>user\\n<tool_response>\\n' + text + '\\n</tool_response><|im_end|>\\n' }}
{%- elif message.role == 'assistant' %}
{{- '<|im_start|>assistant\\n' + ('<think>\\n\\n</think>\\n\\n' if loop.index0 > asked.last else '') + text }}
{%- for call in message.tool_calls or [] %}
{{- '<tool_call>\\n<function=' + call.function.name + '>\\n' }}
{%- for name, value in call.function.arguments.items() %}
{{- '<parameter=' + name + '>\\n' + (value|string) + '\\n</parameter>\\n' }}
{%- endfor %}
{{- '</function>\\n</tool_call>' }}
{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- else %}
{{- '<|im_start|>' + message.role + '\\n' + text + '<|im_end|>\\n' }}
{%- endif %}
{%- endfor %}
{{- '<|im_start|>assistant\\n<think>\\n\\n</think>\\n\\n' }}
"""
_RESPONSES = ("<tool_response>", "</tool_response>")


def write_xml_model(folder: Path) -> Path:
    """Writes the model into the folder, and returns its file."""
    words = byte_words(tags_are_tokens=True)
    words = replace(
        words,
        tokens=[*words.tokens, *_RESPONSES],
        types=[*words.types, *[TokenType.CONTROL] * len(_RESPONSES)],
    )
    path = folder / "tiny-xml.gguf"
    write_gguf(path, words, template=_TEMPLATE)
    return path
