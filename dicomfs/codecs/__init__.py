"""Encoded frame to stored values and back, for each transfer syntax; importable in a bare process."""
