"""One module per model family: how its prompts are written and its output is read."""
