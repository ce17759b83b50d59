"""The architecture: the folders of dicomfs, the sentence of each, and that imports go down between and inside them."""

import ast
from pathlib import Path
from typing import NamedTuple

import dicomfs


class Folder(NamedTuple):
    """One folder: its name, its sentence, and its modules, of which each imports only what stands after it."""

    name: str
    sentence: str
    modules: str


FOLDERS = (
    Folder(
        "cli",
        "What a person types: one module for each verb, options, exit codes, the log.",
        "main parser doctor info files mount umount view usage options option_values outcome log",
    ),
    Folder(
        "fuse",
        "The mount: the only folder that knows pyfuse3, the kernel and signals.",
        "session operations fusermount systemd daemonize reported_sizes inodes requester",
    ),
    Folder(
        "tree",
        "Where things appear: one module for each view of the archive.",
        "mirror single_file instance_directory attributes",
    ),
    Folder(
        "entries",
        "What the directory of one instance holds: one module for each entry, and the one ordered list of them.",
        "frames header icon arrays bitstreams transcoded native_dcm overlays original cine_loop stored_video volume"
        " frames_json frame_rows dependence slide_thumbnail written_text built_file source_bytes display_images"
        " automatic_window frame_values frame_request",
    ),
    Folder(
        "instance",
        "One DICOM object opened: its parts put together, its problems, and a handle that outlives the cache.",
        "handle services instance checks stages cine_loop uncompressed_format view_options entry_selection remark_log"
        " version_stream",
    ),
    Folder("volume", "Slices to a regular grid in the patient.", "volume mosaic frame_traits stack"),
    Folder(
        "workers",
        "Sandboxed decoder processes and the frame cache in front of them: the seam between trio and the code below.",
        "prefetcher frame_cache memory_account pool processes decoder_process readahead sandbox",
    ),
    Folder(
        "video",
        "Cine loops and stored streams with PyAV, in a process of their own.",
        "films film_host process encode poster remux film_size picture_order timeline protocol",
    ),
    Folder(
        "pixeldata",
        "Where each frame is in the stream, and whether it is sound.",
        "pixel_data bare_codestream offset_tables frame_status overlays frames_within frames video_stream",
    ),
    Folder(
        "iod",
        "What a data set says: one module for each module of PS3.3; data set in, frozen value out.",
        "automatic_window window_check rescale image_display display_problems pixel_size cine whole_slide voi_lut"
        " image_plane frame_times real_world_values frame_location ultrasound_regions pixels_elsewhere image_pixel"
        " icc_profile modality lookup_tables functional_groups",
    ),
    Folder(
        "rendering",
        "Stored values to pictures and quantities, in NumPy; knows no attribute.",
        "window_remarks rescale colour resize render",
    ),
    Folder(
        "codecs",
        "Encoded frame to stored values and back, for each transfer syntax; importable in a bare process.",
        "encoders registry rle decoders damage decoder_table by_imagecodecs by_pillow by_pydicom by_pylibjpeg packbits"
        " encoded"
        " codestream lossless_end jpeg2000 colour jpegxl jpeg native remarks predictor codestream_ends openjpeg_log"
        " bitstream pixel_format",
    ),
    Folder(
        "vfs",
        "What a file system is made of: files, directories, lazily made bytes of known size, built files, safe names.",
        "nodes builds names content build_file",
    ),
    Folder(
        "sources",
        "Where the bytes of an archive come from: one interface, and its implementations.",
        "open_files local walk file_systems local_recognition local_file source gather mount_table posix_acl",
    ),
    Folder("cache", "Stores that know nothing of DICOM: memory, disk.", "disk memory edition"),
    Folder("formats", "PNG, TIFF, NIfTI, NPY and MP4 boxes as bytes of known length.", "tiff mp4 png npy nifti"),
    Folder(
        "dicom",
        "Bytes to data sets and back (PS3.5, PS3.6, PS3.10), their JSON and their text.",
        "encapsulation text_dump part10_writer json_model xattrs part10_reader element_reader long_sequence item_walk"
        " item_columns item_layout data_set fragments deflated encoding values recognition printable problems on_demand"
        " stream dictionary character_sets tags uids",
    ),
    Folder(
        "resources",
        "What the machine gives, each with a limit: threads, tasks, processors, descriptors, memory.",
        "threads allocator descriptors nursery processors",
    ),
)
PACKAGE = Path(dicomfs.__file__).parent
# Nothing imports the command; what reads the version imports the package.
TOP = {"__init__", "__main__"}


def modules() -> dict[str, Path]:
    """Map each module to its file, by its name below dicomfs."""
    return {".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in PACKAGE.rglob("*.py")}


MODULES = modules()


def imports(path: Path) -> set[str]:
    """Find what a module imports of dicomfs, also within functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            if name.split(".")[0] == "dicomfs":
                short = name.removeprefix("dicomfs").removeprefix(".")
                while short and short not in MODULES and f"{short}.__init__" not in MODULES:
                    short = short.rpartition(".")[0]
                found.add(short if short in MODULES else f"{short}.__init__".removeprefix("."))
    return found


def test_the_root_holds_folders_alone() -> None:
    assert {name for name in MODULES if "." not in name} == TOP
    assert sorted(path.name for path in PACKAGE.iterdir() if any(path.glob("*.py"))) == sorted(
        folder.name for folder in FOLDERS
    )


def test_every_module_has_a_place() -> None:
    listed = [f"{folder.name}.{name}" for folder in FOLDERS for name in ["__init__", *folder.modules.split()]]
    assert sorted(listed) == sorted(MODULES.keys() - TOP)


def test_every_folder_says_its_sentence() -> None:
    for folder in FOLDERS:
        text = (PACKAGE / folder.name / "__init__.py").read_text()
        assert str(ast.get_docstring(ast.parse(text))).splitlines()[0] == folder.sentence


def test_imports_between_folders_go_down() -> None:
    place = {folder.name: index for index, folder in enumerate(FOLDERS)}
    wrong = [
        f"{name} imports {imported}"
        for name, path in MODULES.items()
        for imported in imports(path)
        if name != "__main__" and "." in imported and place[imported.split(".")[0]] < place[name.split(".")[0]]
    ]
    assert not wrong


def test_imports_inside_a_folder_go_down() -> None:
    place = {
        f"{folder.name}.{name}": index
        for folder in FOLDERS
        for index, name in enumerate(["__init__", *folder.modules.split()])
    }
    wrong = [
        f"{name} imports {imported}"
        for name, path in MODULES.items()
        for imported in imports(path)
        if imported.split(".")[0] == name.split(".")[0] and imported != name and place[imported] < place[name]
    ]
    assert not wrong


def test_every_thread_has_a_purpose() -> None:
    """One that takes a place of trio's own could keep it for ever."""
    assert {name for name, path in MODULES.items() if "to_thread" in path.read_text()} == {"resources.threads"}


def test_the_interface_of_a_source_is_all_that_is_known_of_it_above() -> None:
    """Only those who open an archive know of what kind it is; the mount asks the kernel's table of mounts, too."""
    folders = [folder.name for folder in FOLDERS]
    above = set(folders[: folders.index("sources")])
    users = {
        (name, imported)
        for name, path in MODULES.items()
        for imported in imports(path)
        if name.split(".")[0] in above and imported.startswith("sources.")
    }
    interface = {"sources.source", "sources.open_files", "sources.gather"}
    assert {user for user in users if user[1] not in interface} == {
        ("cli.files", "sources.local"),
        ("cli.info", "sources.local"),
        ("fuse.session", "sources.local"),
        ("fuse.fusermount", "sources.mount_table"),
    }


def test_video_has_one_door() -> None:
    users = {
        (name, imported)
        for name, path in MODULES.items()
        for imported in imports(path)
        if imported.startswith("video.") and not name.startswith("video.")
    }
    assert {user for user in users if user[1] != "video.films"} == {("workers.decoder_process", "video.process")}


def test_pyfuse3_is_known_to_the_mount_alone() -> None:
    users = {name for name, path in MODULES.items() if "import pyfuse3" in path.read_text()}
    assert users == {"fuse.operations", "fuse.session"}


def test_async_is_known_above_the_seam_alone() -> None:
    users = {name.split(".")[0] for name, path in MODULES.items() if "import trio" in path.read_text()}
    seam = {"resources", "vfs", "cache", "sources", "workers"}
    above = {"entries", "instance", "tree", "fuse", "cli"}
    assert users <= seam | above


def test_nurseries_are_opened_in_one_place_that_takes_errors_out_of_groups() -> None:
    users = {name for name, path in MODULES.items() if "open_nursery" in path.read_text()}
    assert users == {"resources.nursery"}


def test_no_test_reaches_into_private_members() -> None:
    """A test that does pins how something is done instead of what it does."""
    ours = {
        node.name
        for path in MODULES.values()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    } | {
        name.attr if isinstance(name, ast.Attribute) else name.id
        for path in MODULES.values()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        for name in ast.walk(target)
        if isinstance(name, ast.Attribute | ast.Name)
    }
    private = {name for name in ours if name.startswith("_") and not name.startswith("__")}
    reached = [
        f"{path.name}: {name}"
        for path in Path(__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        for name in _reached(node)
        if name in private
    ]
    assert not reached


def _reached(node: ast.AST) -> list[str]:
    """Find names that a test takes from elsewhere: attributes but its own, imports, and what is patched by its name."""
    if isinstance(node, ast.Attribute) and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")):
        return [node.attr]
    if isinstance(node, ast.ImportFrom) and str(node.module).startswith("dicomfs"):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("setattr", "delattr"):
        texts = [each.value for each in node.args if isinstance(each, ast.Constant) and isinstance(each.value, str)]
        return [text.rpartition(".")[2] for text in texts]
    return []
