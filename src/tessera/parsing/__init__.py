"""From pieces of text and control tokens to the events of a reply. No I/O, no clock."""
