"""An assistant's turn as one grammar: building it, trying it, and the final check of a reply."""
