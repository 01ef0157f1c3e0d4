"""An assistant's turn as one grammar: reasoning, answer, tool calls, structured output.

A grammar is Lark text for llguidance, built from a request and a family's syntax. It is built and tried in
a process that can be killed, before an engine follows it. `reply_check` validates a finished reply once
more, without grammars.

Reading order: `turn`, `calls`, `lark`, `checker`, `process`, `relaxation`, `reply_check`.
"""
