"""Programs that a folder handed over carries, flattened; each is one command of its own."""
