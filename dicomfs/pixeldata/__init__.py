"""Where each frame is in the stream, and whether it is sound."""
