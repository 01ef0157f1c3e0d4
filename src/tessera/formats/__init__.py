"""Model families: how a family's prompts are written and how its output is marked up.

A family is a `ChatFormat` value: a renderer, which yields segments, and a `Syntax`, which the parser reads.
Text of the conversation and control tokens are different segments, so that no user can write a control
token. Most models are rendered by their own Jinja template, in a sandbox in another process. Some of their
families are known too: how they write calls, and what their templates want (`template_families`).

Reading order: `base`, `chatml`, `qwen3`, `gpt_oss`, `registry`, `conversation`, `template_families`,
`dialects`, `template`.
"""
