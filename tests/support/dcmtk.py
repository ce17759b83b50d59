"""Pictures as DCMTK draws them."""

import subprocess
from pathlib import Path

import numpy as np
from PIL import Image


def drawn_by_dcmtk(tool: str, path: Path, folder: Path, *options: str, frame: int = 1) -> np.ndarray:
    """Have *tool*, `dcmj2pnm` or one of its kind, draw a frame. Raises CalledProcessError where it declines."""
    target = folder / f"{path.name}.{frame}.pnm"
    target.unlink(missing_ok=True)
    subprocess.run([tool, "+F", str(frame), *options, path, target], check=True, capture_output=True)
    return np.asarray(Image.open(target))
