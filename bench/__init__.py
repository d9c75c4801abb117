"""How fast: our roads beside the raw limits of the same machine, in the same run."""
