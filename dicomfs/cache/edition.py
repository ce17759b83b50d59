"""What the bytes that are made here depend on besides their source: the code, and the libraries it runs with.

Only this module knows which installed packages those are. What outlives a mount carries it in its key, so that a
corrected codec is not hidden behind what the faulty one made.
"""

import hashlib
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution

from dicomfs import __version__

# Those that decode, encode, calculate or compress; some may be absent, which is an answer too.
_PACKAGES = (
    "av",
    "imagecodecs",
    "isal",
    "numpy",
    "pillow",
    "pylibjpeg",
    "pylibjpeg-libjpeg",
    "pylibjpeg-openjpeg",
    "simplejpeg",
)


@cache
def edition() -> str:
    """Describe the code and its libraries: their versions, and a digest of what was installed under that version.

    The second tells apart builds of one version: the list of installed files has the hash of each, bundled libraries
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
