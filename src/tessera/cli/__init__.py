"""The commands: one module for each, imported only when it is used.

A command reads its arguments, calls the package that does the work, and prints. `main` holds the table of
commands and turns errors into lines; `options` makes flags of the settings; `rows` prints tables and JSON.

Reading order: `main`, `options`, then a command.
"""
