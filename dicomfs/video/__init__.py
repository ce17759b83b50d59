"""Cine loops and stored streams with PyAV, in a process of their own."""
