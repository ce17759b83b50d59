"""Stored values to pictures and quantities, in NumPy; knows no attribute."""
