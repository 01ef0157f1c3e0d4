"""JSON Schema, read once for the grammar, the parser and the validation of finished values.

`keywords` says which keywords are enforced, relaxed or refused. `check` applies that to the schemas of a
request; `validation` is a validator that knows nothing of grammars and runs in a process that can be
killed.

Reading order: `keywords`, `check`, `references`, `bounds`, `parameters`, `validation`.
"""
