"""Where the bytes of an archive come from: one interface, and its implementations."""
