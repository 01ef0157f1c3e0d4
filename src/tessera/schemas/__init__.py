"""JSON Schema, read once for the grammar, the parser and the validation of finished values.

`keywords` has the treatment of each keyword: enforced, relaxed or ignored. `check` applies it to the schemas
of a request. `validation` validates finished values, independent of grammars, in a process that can be
killed.

Reading order: `keywords`, `check`, `references`, `bounds`, `parameters`, `validation`.
"""
