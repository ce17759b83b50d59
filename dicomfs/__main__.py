"""`python -m dicomfs` is the command `dicomfs`."""

from dicomfs.cli import main

main()
