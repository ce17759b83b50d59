"""Stores that know nothing of DICOM: memory, disk."""
