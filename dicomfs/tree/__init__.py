"""Where things appear: one module for each view of the archive."""
