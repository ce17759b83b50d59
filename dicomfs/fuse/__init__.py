"""The mount: the only folder that knows pyfuse3, the kernel and signals."""
