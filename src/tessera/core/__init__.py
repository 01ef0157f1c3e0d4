"""The nouns that travel between the stages: frozen values, standard library only."""
