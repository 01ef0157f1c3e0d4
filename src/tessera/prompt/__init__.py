"""From a chat request to the tokens that an engine continues."""
