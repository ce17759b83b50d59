"""What one DICOM object is: which frames it has, where they are stored, where they lie, what their values mean."""
