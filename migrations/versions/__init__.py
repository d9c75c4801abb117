"""How did the schema get here? One module per step, in order; there are no downgrades: restore a backup instead."""
