"""Decoding in processes of their own: the seam between trio and the code below."""
