"""One module per model family: how its prompts are written, and the syntax of its output."""
