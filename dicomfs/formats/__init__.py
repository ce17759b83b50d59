"""PNG, TIFF, NIfTI, NPY and MP4 boxes as bytes of known length."""
