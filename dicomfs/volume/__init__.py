"""Slices to a regular grid in the patient."""
