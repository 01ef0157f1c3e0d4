"""An assistant's turn as one grammar: built, tried, followed, and the final check of a reply."""
