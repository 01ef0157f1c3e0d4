"""Measures any server that speaks OpenAI's API, over HTTP on this machine.

It imports nothing of the service, so that it cannot measure what a client would not see. While the clock
runs it only keeps bytes and times; they are read afterwards.

Reading order: `shapes` (what is asked), `plan` (who is asked when), `rounds`, `server`, `capture`,
`figures`, `report`.
"""
