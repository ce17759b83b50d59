"""How stored values become a picture: what the attributes say about it, and the drawing itself."""
