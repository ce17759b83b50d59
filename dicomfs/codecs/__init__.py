"""Encoded bytes of one frame to its stored values; importable in a bare process."""
