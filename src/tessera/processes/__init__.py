"""Python children: how they are started and ended, and pools of them that answer questions."""
