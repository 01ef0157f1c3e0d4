"""From pieces of text and control tokens to the events of a reply. No I/O and no clock.

A parser is a state machine for one choice: reasoning, answer, tool calls, end. It holds back text that may
become a tag or a stop string, and gives the same events however the text is cut.

Reading order: `states` (the table of the parser's states), `parser`, `between_calls`, `calls_json`,
`calls_xml`, `calls_framed`, `harmony`, `loops`, `reader`.
"""
