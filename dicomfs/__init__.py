"""dicomfs mounts an archive of DICOM files as a file system."""

__version__ = "0.1.0"
