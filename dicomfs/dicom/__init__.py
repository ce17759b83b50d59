"""Bytes to data sets and back (PS3.5, PS3.6, PS3.10), their JSON and their text."""
