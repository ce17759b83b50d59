"""The architecture: a module imports only modules that stand below it in this list."""

import ast
from pathlib import Path

import dicomfs

LAYERS = """
__main__ cli
doctor info offline daemon mount
operations
tree
files.__init__
files.frames files.overlays files.extras files.bitstreams files.frame_index files.header files.source
files.pictures
files.subject
nodes
decode ahead processes worker sandbox
content
ancillary
png fit
instance
pixels
overlays profile
header header_txt header_json
timing geometry place quantity regions display voi functional luts render
inspection
codecs rle decoders predictor native
codestream jpeg jpeg2000 jpegxl encoded
dataset reader elements values dictionary
offsets
fragments
extents
pixelformat
source access recognise stream cache naming
__init__
""".split()
PACKAGE = Path(dicomfs.__file__).parent


def modules() -> dict[str, Path]:
    return {".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in PACKAGE.rglob("*.py")}


def imports(path: Path) -> set[str]:
    """Find what a module imports of dicomfs, also within functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [str(node.module)]
            if node.module in ("dicomfs", "dicomfs.files"):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            if name.split(".")[0] == "dicomfs":
                short = name.removeprefix("dicomfs").removeprefix(".")
                found.add(short if short in LAYERS else f"{short.rpartition('.')[0]}.__init__".removeprefix("."))
    return found


def test_every_module_has_a_place() -> None:
    assert sorted(modules()) == sorted(LAYERS)


def test_imports_go_down() -> None:
    place = {name: index for index, name in enumerate(LAYERS)}
    wrong = [
        f"{name} imports {imported}"
        for name, path in modules().items()
        for imported in imports(path)
        if place[imported] <= place[name] and imported != name
    ]
    assert not wrong


def test_pyfuse3_is_known_to_the_adapter_and_the_mount_alone() -> None:
    users = {name for name, path in modules().items() if "import pyfuse3" in path.read_text()}
    assert users == {"operations", "mount"}


def test_async_is_known_above_the_seam_alone() -> None:
    users = {name for name, path in modules().items() if "import trio" in path.read_text()}
    above = {"cache", "content", "processes", "decode", "files.subject", "tree", "operations", "mount", "doctor", "cli"}
    assert users <= above
