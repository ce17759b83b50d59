"""The edition: the versions of dicomfs and of the libraries that results depend on.

It is part of every key that outlives a mount, so that results of a faulty codec vanish with it. Only this module knows
which packages those are.
"""

import hashlib
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution

from dicomfs import __version__

# The packages that decode, encode, calculate or compress. That one is absent is part of the edition too.
_PACKAGES = (
    "av",
    "imagecodecs",
    "isal",
    "numpy",
    "pillow",
    "pydicom",
    "pylibjpeg",
    "pylibjpeg-libjpeg",
    "pylibjpeg-openjpeg",
    "simplejpeg",
)


@cache
def edition() -> str:
    """Return the version of dicomfs, and for each library its version and a digest of its installed files.

    The digest tells builds of one version apart: the list of installed files has the hash of each, bundled libraries
    included (Core metadata, "RECORD").
    """
    return "; ".join((f"dicomfs {__version__}", *map(_described, _PACKAGES)))


def _described(package: str) -> str:
    try:
        found = distribution(package)
    except PackageNotFoundError:
        return f"no {package}"
    installed = hashlib.sha256((found.read_text("RECORD") or "").encode()).hexdigest()
    return f"{package} {found.version} {installed[:16]}"
