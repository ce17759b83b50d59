"""Pixels as files of known length."""
