"""One DICOM object opened: its parts put together, its problems, and a handle that outlives the cache."""
