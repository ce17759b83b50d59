"""Sandboxed decoder processes and the frame cache in front of them: the seam between trio and the code below."""
