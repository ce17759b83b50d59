"""Where each frame lies in the stream, and whether it is sound."""
