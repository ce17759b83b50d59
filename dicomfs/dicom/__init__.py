"""DICOM data sets: recognised, read, decoded, and written as text."""
