"""The architecture: a module imports only modules that stand below it in this list."""

import ast
from pathlib import Path

import dicomfs

LAYERS = """
__main__ cli usage options log
doctor info offline daemon mount
operations
inodes sizes
tree
files.__init__
files.arrays files.frames files.overlays files.extras files.bitstreams files.frame_index files.header files.source
files.transcoded
files.volume files.native_dcm files.cine
files.video
files.dependence
files.written
files.exchange
files.slide
files.pictures
files.samples
files.built
files.subject
files.selection
files.remark_log
nodes
workers.decode workers.ahead workers.pool workers.processes workers.worker workers.film workers.sandbox
workers.still workers.remux workers.channel
builds
spool
content
formats.ancillary formats.tiff formats.npy formats.nifti
formats.encapsulation
formats.part10
formats.png formats.mp4 display.fit
image.instance
image.dimensions
image.films
image.pixels
image.uncompressed
image.video image.absent image.slide
image.overlays image.profile
dicom.header dicom.header_txt dicom.header_json dicom.attributes
image.mosaic
image.volume
display.quantities display.automatic
image.timing image.traits image.moments image.geometry image.place image.quantity image.regions
display.notice
display.reach
display.display
display.findings
display.voi image.functional display.luts display.scale display.render display.colour
image.bare
image.inspection
codecs.encoders
codecs.table codecs.rle codecs.decoders codecs.damage codecs.lossless_end codecs.predictor codecs.native
codecs.colour
codecs.order codecs.timeline codecs.film_size
image.offsets
image.within
codecs.ends codecs.codestream codecs.jpeg codecs.jpeg2000 codecs.jpegxl codecs.encoded
dicom.dataset dicom.reader dicom.inflated dicom.long_sequence
dicom.encoding dicom.elements dicom.values dicom.charsets dicom.dictionary
image.fragments
image.extents
image.pixelformat image.remarks
recent
threads
source
mounttable
memory descriptors nursery access gather dicom.recognise dicom.stream cache client diskcache naming processors
edition printable
__init__ dicom.__init__ image.__init__ display.__init__ codecs.__init__ formats.__init__ workers.__init__
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
            if f"{node.module}.__init__".removeprefix("dicomfs.") in LAYERS:
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


def test_every_thread_has_a_purpose() -> None:
    """One that takes a place of trio's own could keep it for ever."""
    assert {name for name, path in modules().items() if "to_thread" in path.read_text()} == {"threads"}


def test_pyfuse3_is_known_to_the_adapter_and_the_mount_alone() -> None:
    users = {name for name, path in modules().items() if "import pyfuse3" in path.read_text()}
    assert users == {"operations", "mount"}


def test_async_is_known_above_the_seam_alone() -> None:
    users = {name for name, path in modules().items() if "import trio" in path.read_text()}
    seam = {"nursery", "threads", "builds", "cache", "recent", "content"}
    seam |= {"workers.processes", "workers.pool", "workers.decode"}
    files = {"files.cine", "files.exchange", "files.native_dcm", "files.subject", "files.transcoded", "files.video"}
    above = {"tree", "operations", "mount", "doctor", "cli"}
    assert users <= seam | files | above


def test_nurseries_are_opened_in_one_place_that_takes_errors_out_of_groups() -> None:
    users = {name for name, path in modules().items() if "open_nursery" in path.read_text()}
    assert users == {"nursery"}
