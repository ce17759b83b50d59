"""The documentation is true: examples run, outputs compare, options, names and limits are those of the code.

The pages are README.md, those of docs/, CONTRIBUTING.md and SECURITY.md. The language of a fenced block says how it is
checked: `sh` and `console` run in a scratch home, `python` too, `text` is what the Python before it prints. `bash`
needs root or a network and is checked by syntax and by the names in it; `fstab`, `ini` and `dockerfile` are taken
apart.
"""

import configparser
import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from inspect import signature
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms
from support.archives import PYDICOM
from support.builders import dicom, image
from support.mounting import wait_for

from dicomfs.codecs.registry import CODECS
from dicomfs.entries import VIRTUAL_FILES
from dicomfs.workers.pool import WorkerPool

PROJECT = Path(__file__).parents[1]
# In the order in which somebody reads them.
NAMES = ("README.md", "docs/recipes.md", "docs/reference.md")
NAMES += tuple(sorted({str(path.relative_to(PROJECT)) for path in (PROJECT / "docs").glob("*.md")} - {*NAMES}))
NAMES += ("CONTRIBUTING.md", "SECURITY.md")
PAGES = {name: (PROJECT / name).read_text() for name in NAMES}
README, RECIPES, REFERENCE = (PAGES[name] for name in NAMES[:3])
ALL = "\n".join(PAGES.values())
BIN = Path(sys.executable).parent
# Programs of the examples that a machine may lack.
PROGRAMS = ("ffmpeg", "ffprobe", "getfattr", "jq", "rsync")
VERBS = ("mount", "umount", "info", "doctor", "ls", "cat", "cp")


@dataclass(frozen=True)
class Block:
    """A fenced block: where it is, its language and its text."""

    page: str
    section: str
    line: int
    language: str
    text: str


def blocks() -> list[Block]:
    """Find the fenced blocks of all pages, each with the title of its chapter."""
    found = []
    for page, text in PAGES.items():
        for block in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            before = text[: block.start()]
            section = re.findall(r"^##? (.*)$", before, re.MULTILINE)[-1]
            found.append(Block(page, section, before.count("\n") + 1, block[1], block[2]))
    assert 2 * len(found) == ALL.count("```")
    return found


BLOCKS = blocks()
# What runs a program of a language. R is large, so that its example is tried only where somebody has it.
INTERPRETERS = {"python": (str(BIN / "python"), "-c")}
if shutil.which("Rscript"):
    INTERPRETERS["r"] = ("Rscript", "-e")
RUN = [block for block in BLOCKS if block.language in ("sh", "console", *INTERPRETERS)]


def chapter(title: str, page: str = REFERENCE) -> str:
    """Return the text of a chapter, without its code blocks."""
    match = re.search(rf"^##+ {re.escape(title)}$\n(.*?)(?=^##+ |\Z)", page, re.MULTILINE | re.DOTALL)
    assert match, title
    return re.sub(r"^```.*?^```$", "", match[1], flags=re.MULTILINE | re.DOTALL)


def of_language(language: str) -> list[Block]:
    found = [block for block in BLOCKS if block.language == language]
    assert found, language
    return found


class Home:
    """A scratch home in which commands run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        keep = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
        self.environment = keep | {"HOME": str(path), "LC_ALL": "C.UTF-8", "TZ": "UTC", "PYTHONDONTWRITEBYTECODE": "1"}
        self.environment["PATH"] = f"{BIN}{os.pathsep}{keep.get('PATH', os.defpath)}"

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, with both outputs in one; its daemons may go on."""
        output = self.path.with_name("output")
        # A file, for a pipe would stay open as long as a daemon that it was inherited by.
        with open(output, "w") as stream:
            done = subprocess.run(
                command,
                cwd=self.path,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                timeout=120,
                umask=0o022,
                check=False,
            )
        return subprocess.CompletedProcess(command, done.returncode, output.read_text())

    def bash(self, text: str) -> None:
        """Run a script that must not fail."""
        done = self.run("bash", "-e", "-o", "pipefail", "-c", text)
        assert done.returncode == 0, done.stdout

    def console(self, text: str) -> None:
        """Run each command behind a prompt and compare what it prints with the lines below."""
        for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            command, _, expected = part.partition("\n")
            compare(self.run("bash", "-c", command).stdout, expected)

    def block(self, block: Block) -> None:
        """Run a block."""
        if block.language in INTERPRETERS:
            done = self.run(*INTERPRETERS[block.language], block.text)
            assert done.returncode == 0, done.stdout
            following = BLOCKS[BLOCKS.index(block) + 1]
            assert following.language == "text", f"{block.page}:{block.line}: no output after it"
            compare(done.stdout, following.text)
        else:
            (self.bash if block.language == "sh" else self.console)(block.text)

    def mounts(self) -> list[str]:
        """Give the mount points below this home."""
        table = Path("/proc/self/mountinfo").read_text().splitlines()
        return [point for point in (line.split()[4] for line in table) if point.startswith(f"{self.path}/")]

    def processes(self) -> list[int]:
        """Give the processes that were started in this home and still live."""
        return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and self._owns(entry)]

    def _owns(self, entry: Path) -> bool:
        with contextlib.suppress(OSError):
            return f"HOME={self.path}".encode() in (entry / "environ").read_bytes().split(b"\0")
        return False

    def clear(self) -> None:
        """Unmount and see that nothing is left; whatever is left is ended and fails the test."""
        for point in self.mounts():
            subprocess.run(["fusermount3", "-uz", point], check=False)
        try:
            wait_for(lambda: not self.mounts() and not self.processes())
        finally:
            for process in self.processes():
                os.kill(process, signal.SIGKILL)


def compare(shown: str, expected: str) -> None:
    """Compare an output with the README's, in which `…` stands for anything within a line."""
    pattern = "[^\n]*".join(map(re.escape, expected.split("…")))
    assert re.fullmatch(pattern, shown), f"shown:\n{shown}\nexpected:\n{expected}"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    place = tmp_path / "home"
    place.mkdir()
    home = Home(place)
    try:
        yield home
    finally:
        home.clear()


def preparation(block: Block) -> list[Block]:
    """Return the blocks of the first chapter that a reader has run before: all but unmounting."""
    first = [other for other in RUN if other.section == "Thirty seconds" and "umount" not in other.text]
    assert len(first) == 2
    return [other for other in first if RUN.index(other) < RUN.index(block)]


@pytest.mark.parametrize("block", RUN, ids=lambda block: f"{Path(block.page).stem}-{block.line}")
def test_the_example_works(block: Block, home: Home, program: Callable[[str], str]) -> None:
    for name in PROGRAMS:
        if re.search(rf"\b{name}\b", block.text):
            program(name)
    for earlier in preparation(block):
        home.block(earlier)
    home.block(block)
    if "umount" in block.text:
        assert not home.mounts()


def test_a_wrong_output_would_be_noticed(home: Home) -> None:
    home.console("$ echo 1 2 3\n1 … 3\n")
    for wrong in ("1 … 4\n", "…", "1 2 3\n…\n"):
        with pytest.raises(AssertionError):
            home.console(f"$ echo 1 2 3\n{wrong}")
    with pytest.raises(AssertionError):
        home.bash("false")


def test_every_block_is_checked_by_somebody() -> None:
    known = {"sh", "console", "python", "r", "text", "bash", "fstab", "ini", "dockerfile"}
    assert {block.language for block in BLOCKS} == known
    for block, following in pairwise(BLOCKS):
        assert following.language != "text" or block.language in ("python", "r"), following.line


def test_examples_give_what_they_promise(home: Home, program: Callable[[str], str]) -> None:
    """What examples write is not compared by its text; it is right all the same."""
    for name in PROGRAMS:
        program(name)
    for block in RUN:
        if (block.section == "Thirty seconds" or block.page == "docs/recipes.md") and "umount" not in block.text:
            home.block(block)
    count = "ffprobe -v error -count_frames -show_entries stream=nb_read_frames -of csv=p=0 ~/echo.mp4"
    compare(home.run("bash", "-c", count).stdout, "30\n")
    compare(home.run("bash", "-c", count.replace("echo.mp4", "film.mp4")).stdout, "30\n")
    with Image.open(home.path / "half.png") as half, Image.open(home.path / "frames" / "0016.png") as frame:
        assert np.abs(np.asarray(half, float) - np.asarray(frame)).mean() < 2
    home.bash("cmp ~/film.mp4 ~/same.mp4; cmp ~/film.mp4 ~/mnt/echo.dcm/video.mp4")
    home.bash("diff -r ~/mnt/ct.dcm ~/copy/ct.dcm; diff -r ~/mnt/echo.dcm/frames ~/frames")
    home.bash("diff -r ~/frames ~/echo-frames; cmp ~/ct.png ~/mnt/ct.dcm/frames/0001.png")
    home.bash("tar -df ~/ct.tar -C ~/mnt; cmp ~/archive/ct.dcm ~/mnt/ct.dcm/original.dcm; touch ~/frames/new")


# The tree


def rows(text: str) -> list[list[str]]:
    """Give the cells of a table's rows, without its head."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if not line.startswith("|--")]


def entries() -> list[str]:
    """Give the names in the table of entries; a row may have several."""
    cells = [cells[0] for cells in rows(chapter("What a DICOM file holds"))[1:]]
    return [name.strip(" `") for cell in cells for name in cell.split(",")]


def test_the_table_of_entries_is_that_of_the_code() -> None:
    assert [name.rstrip("/") for name in entries()] == [virtual.name for virtual, _ in VIRTUAL_FILES]


def test_the_short_table_has_every_entry() -> None:
    """Kinds of stored video are left to the reference."""
    shown = [name.rstrip("/") for cells in rows(chapter("What you see", README))[1:] for name in quoted("".join(cells))]
    rare = {virtual.name for virtual, _ in VIRTUAL_FILES if virtual.name.startswith("video.")} - {"video.mp4"}
    assert sorted(shown) == sorted({virtual.name for virtual, _ in VIRTUAL_FILES} - rare)


def quoted(text: str) -> list[str]:
    """Return what is between backticks."""
    return re.findall(r"`([^`\n]+)`", text)


def test_what_decodes_is_what_there_are_codecs_for() -> None:
    listed = re.findall(r"`(1\.2\.840\.[\d.]+)`", chapter("What decodes"))
    assert sorted(listed) == sorted(CODECS)


VIDEOS = {name for name in entries() if name.startswith("video.")}
RARE = {"regions.json", "windows", "overlays", "icon.png", "profile.icc", *VIDEOS}


IMAGE = {"frames.json", "frames", "stored", "pixels.npy", "rescaled.npy", "volume.nii", "raw", "thumbnail.png"}


@pytest.mark.parametrize(
    ("sample", "absent"),
    [
        ("JPEG2000.dcm", {"volume.nii", "problems.txt", *RARE}),
        ("CT_small.dcm", {"fragments", "problems.txt", *RARE}),
        ("reportsi.dcm", {*IMAGE, "fragments", "transcoded", "bulk", "problems.txt", *RARE}),
        ("MR_truncated.dcm", {"fragments", *RARE}),
    ],
)
def test_entries_are_absent_as_the_table_says(sample: str, absent: set[str], home: Home) -> None:
    shown = home.run("dicomfs", "ls", str(PYDICOM / sample)).stdout.split()
    assert shown == [virtual.name for virtual, listed in VIRTUAL_FILES if listed and virtual.name not in absent]


def test_directories_are_marked_as_such(home: Home) -> None:
    rich = home.path / "rich.dcm"
    rich.write_bytes(
        dicom(
            image(
                8,
                8,
                bytes(64),
                more={
                    0x00281050: ("DS", "40\\80"),
                    0x00281051: ("DS", "400\\800"),
                    0x00186011: ("SQ", [{0x00186018: ("UL", 0)}]),
                    0x00880200: ("SQ", [image(4, 4, bytes(16))]),
                    0x00282000: ("OB", ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()),
                    0x60000010: ("US", 8),
                    0x60000011: ("US", 8),
                    0x60000040: ("CS", "G"),
                    0x60000050: ("SS", [1, 1]),
                    0x60000100: ("US", 1),
                    0x60000102: ("US", 0),
                    0x60003000: ("OW", bytes(8)),
                },
            )
        )
    )
    samples = [str(rich), *(str(PYDICOM / name) for name in ("MR_small_RLE.dcm", "MR_truncated.dcm"))]
    listed = home.run("dicomfs", "ls", "-l", "--show=all", *samples).stdout
    kinds = {line.split()[-1]: line[0] == "d" for line in listed.splitlines()}
    marked = set(entries()) - VIDEOS
    assert marked == {f"{name}/" if is_directory else name for name, is_directory in kinds.items()}


# Commands and options


def options_of(text: str) -> set[str]:
    """Find what looks like an option."""
    return set(re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", text))


@pytest.mark.parametrize("verb", VERBS)
def test_options_are_those_of_the_command(verb: str, home: Home) -> None:
    done = home.run("dicomfs", verb, "--help")
    assert done.returncode == 0
    help_text = done.stdout.partition("options:")[2]
    offered = {word for line in help_text.splitlines() if line.startswith("  -") for word in options_of(line[:26])}
    commands = chapter("Commands")
    general = options_of(commands) - {"--version"}
    assert general == {"-h", "--help"}
    (title,) = re.findall(rf"^### (dicomfs {verb} ?.*)$", REFERENCE, re.MULTILINE)
    named = {option for cells in rows(chapter(title)) for option in options_of(cells[0])}
    assert (named - {"-o"}) | general == offered - {"-o"}
    assert ("-o" in named) == ("-o" in offered)


def test_commands_are_those_of_the_program(home: Home) -> None:
    help_text = home.run("dicomfs", "--help").stdout
    offered = re.findall(r"^    (\w+) ", help_text, re.MULTILINE)
    assert offered == list(VERBS) == re.findall(r"^### dicomfs (\w+)", REFERENCE, re.MULTILINE)
    assert options_of(help_text) <= {"-h", "--help", "--version"}
    assert home.run("dicomfs", "--version").stdout.startswith("dicomfs ")
    short = [name for cells in rows(chapter("Commands", README)) for name in quoted(cells[0])]
    assert [name.split()[1] for name in short if name.startswith("dicomfs ")] == list(VERBS)
    code = quoted(ALL) + [block.text for block in RUN]
    used = {verb for text in code for verb in re.findall(r"(?:^|\$ |bin/)dicomfs (\w+)", text, re.MULTILINE)}
    assert used <= {*VERBS, "ARCHIVE", "unmount"}


def test_options_of_mount_in_running_text_exist(home: Home) -> None:
    """Options in text that stand alone in their quotes are ours; those of other programs have their name before."""
    alone = set(re.findall(r"`(--[a-z-]+)(?: [A-Z,]+)?`", ALL))
    offered = options_of("".join(home.run("dicomfs", verb, "--help").stdout for verb in VERBS))
    assert alone - {"--version"} <= offered


def test_exit_codes(home: Home) -> None:
    said = " ".join(chapter("Commands").split())
    assert "exit with 0 on success, 1 on failure (including the failure of one path of several)" in said
    assert "2 on wrong usage, and 130 on an interrupt" in said
    home.bash("cp /dev/null ~/empty; mkdir ~/mnt")
    sample = str(PYDICOM / "reportsi.dcm")
    assert home.run("dicomfs", "ls", sample).returncode == 0
    assert home.run("dicomfs", "ls", sample, f"{sample}/nothing").returncode == 1
    assert home.run("dicomfs", "info", "empty").returncode == 1
    assert home.run("dicomfs", "umount", "mnt").returncode == 1
    assert home.run("dicomfs", "mount", "nowhere", "mnt").returncode == 1
    assert home.run("dicomfs", "mount", "-o", "nonsense", "nowhere", "mnt").returncode == 2
    assert home.run("dicomfs", "nonsense").returncode == 2


def fuse_options() -> list[str]:
    """Return the options of `-o` that the reference names, with a value where they need one."""
    (title,) = re.findall(r"^### (dicomfs mount .*)$", REFERENCE, re.MULTILINE)
    table = chapter(title).partition("| `-o` |")[2]
    assert table
    named = [option for cells in rows(f"| |\n{table}") for option in re.findall(r"`([^`]+)`", cells[0])]
    values = {"SIZE": "1M", "FILE": "log", "NAME": "x", "N": "1", "C/W": "40/400", "…": "x"}
    return [re.sub(r"(?<==)(SIZE|FILE|NAME|C/W|N|…)|(?<=-)…", lambda found: values[found[0]], name) for name in named]


def test_options_for_fstab_are_known(home: Home) -> None:
    options = fuse_options()
    assert {"allow_other", "workers=1", "cache_memory=1M", "log_file=log", "nofail", "x-x", "fsname=x"} <= set(options)
    home.bash("mkdir ~/mnt")
    done = home.run("dicomfs", "mount", "-o", ",".join(options), "nowhere", "mnt")
    assert done.returncode == 1, done.stdout
    assert home.run("dicomfs", "mount", "-o", f"{options[0]},nonsense", "nowhere", "mnt").returncode == 2


# What would change the system


def apt_packages(text: str) -> set[str]:
    """Find the packages of apt-get install commands."""
    found: set[str] = set()
    for command in re.findall(r"apt-get install (.*)", text):
        found.update(word for word in command.split() if not word.startswith("-"))
    return found


def needed_packages() -> set[str]:
    """Find the packages that `make setup` installs, for the Python of the distribution."""
    script = (PROJECT / ".ci" / "packages").read_text()
    build = script.partition("    build)\n")[2].partition(";;")[0].replace("$version", "3")
    printed = re.findall(r"(?:echo|printf '%s\\n') (\".*?\")(?:;|$)", build, re.MULTILINE)
    # Each in quotes with what it is for behind it.
    return {words.split()[0] for line in printed for words in shlex.split(line)}


def test_packages_are_those_that_setup_installs() -> None:
    needed = needed_packages()
    assert {"fuse3", "libfuse3-dev", "pkg-config", "gcc", "python3-dev", "python3-venv"} <= needed
    # gcc recommends libc6-dev, and python3 is there.
    on_debian = apt_packages("".join(block.text for block in of_language("bash")))
    assert on_debian == needed - {"libc6-dev", "python3"}
    (image,) = of_language("dockerfile")
    # The image brings Python and its headers; recommended packages are left out there.
    assert apt_packages(image.text) == {name for name in needed if not name.startswith("python3")}


def test_commands_for_root_are_sound(home: Home) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    for block in of_language("bash"):
        home.bash(f"bash -n -c {shlex.quote(block.text)}")
        assert set(re.findall(r"^make ([\w-]+)", block.text, re.MULTILINE)) <= targets
        for path in re.findall(r"\s(systemd/\S+)", block.text):
            assert (PROJECT / path).is_file(), path
    assert set(re.findall(r"`make ([\w-]+)", ALL)) <= targets


def test_the_line_of_fstab_mounts(home: Home) -> None:
    (block,) = of_language("fstab")
    _source, _mountpoint, kind, options, dump, check = block.text.split()
    assert (kind, dump, check) == ("fuse.dicomfs", "0", "0")
    # As mount.fuse3 calls it.
    home.bash(f"mkdir ~/archive ~/mnt; cp {shlex.quote(str(PYDICOM / 'CT_small.dcm'))} ~/archive")
    if os.geteuid():
        options = options.replace("allow_other", "")  # needs a line in /etc/fuse.conf
    home.bash(f"dicomfs ~/archive ~/mnt -o {options},dev,suid; test -f ~/mnt/CT_small.dcm/original.dcm")
    assert home.mounts() == [str(home.path / "mnt")]


def test_the_unit_and_its_configuration(home: Home) -> None:
    unit = PROJECT / "systemd" / "dicomfs@.service"
    assert RECIPES.count("dicomfs@.service") >= 2
    assert unit.is_file()
    configuration, share = of_language("ini")
    settings = dict(line.split("=", 1) for line in configuration.text.splitlines())
    text = unit.read_text()
    # The variables that the unit uses are those that the example sets.
    assert set(re.findall(r"\$\{?([A-Z]+)\}?", text)) == set(settings)
    (start,) = re.findall(r"^ExecStart=dicomfs (.*)$", text, re.MULTILINE)
    home.bash("mkdir ~/mnt")
    values = {"OPTIONS": settings["OPTIONS"], "SOURCE": "nowhere", "MOUNTPOINT": "mnt"}
    command = re.sub(r"\$\{?([A-Z]+)\}?", lambda found: values[found[1]], start)
    assert home.run("dicomfs", *command.split()).returncode == 1, "2 would be wrong usage"

    samba = configparser.ConfigParser()
    samba.read_string(share.text)
    assert samba["dicom"]["path"] == settings["MOUNTPOINT"]
    assert samba["dicom"].getboolean("read only")


def test_the_image_runs_a_command_that_exists(home: Home) -> None:
    (image,) = of_language("dockerfile")
    (command,) = re.findall(r"^CMD \[(.*)\]$", image.text, re.MULTILINE)
    name, *arguments = re.findall(r'"([^"]*)"', command)
    assert name == "dicomfs"
    home.bash("mkdir ~/mnt")
    places = {"/archive": "nowhere", "/mnt": "mnt"}
    assert home.run(name, *(places.get(argument, argument) for argument in arguments)).returncode == 1
    volumes = "".join(block.text for block in of_language("bash"))
    assert ":/archive:ro" in volumes


# Numbers and links


def constant(name: str) -> float:
    """Find the value of a constant, in whichever module it stands."""
    code = "".join(path.read_text() for path in (PROJECT / "dicomfs").rglob("*.py"))
    (value,) = re.findall(rf"^{name}(?:: \w+)? = ([\d_ *<./e]+?)(?: *#.*)?$", code, re.MULTILINE)
    return float(eval(value))


def test_numbers_are_those_of_the_code() -> None:
    limits = " ".join(chapter("Limits").split())
    for number, text in (
        (constant("MAX_FRAMES"), "{:,.0f} frames are listed"),
        (constant("MAX_FRAGMENTS"), "{:,.0f} fragments"),
        (constant("MAX_SAMPLES"), "{:,.0f} samples"),
        (constant("MAX_ELEMENTS"), "{:,.0f} elements"),
        (constant("MAX_ITEMS"), "{:,.0f} Items"),
        (constant("MAX_DEPTH"), "{:.0f} levels of sequences"),
        (constant("MAX_INFLATED_BYTES") / (1 << 30), "{:.0f} GiB inflated"),
        (constant("MIRROR_SECONDS"), "after {:.0f} seconds"),
        (constant("TIME_LIMIT_SECONDS"), "within {:.0f} seconds"),
        (constant("BUILD_LIMIT_SECONDS") / 60, "fails after {:.0f} minutes"),
        (1e-6 / constant("_SECONDS_PER_PIXEL"), "1 second more for each {:.0f} million pixels"),
    ):
        assert text.format(number) in limits
    defaults = {name: value.default for name, value in signature(WorkerPool).parameters.items()}
    assert f"may take {defaults['timeout']:g} seconds" in limits
    assert f"{defaults['memory'] >> 30} GiB of memory" in limits
    assert f"longer than {constant('LONGEST_ATTRIBUTE'):.0f} bytes have none" in chapter("Extended attributes")
    long = constant("MAX_KEPT_VALUE_BYTES") / 1024
    assert f"above {constant('INLINE') / 1024:.0f} KiB or text above {long:.0f} KiB" in REFERENCE
    broken = " ".join(chapter("When a file is broken").split())
    assert f"or more than {constant('MAX_DESCRIBED_FRAMES'):,.0f} |" in chapter("What a DICOM file holds")
    assert f"more than {constant('MAX_MISSING_FRAMES'):.0f} are missing" in broken


def test_messages_of_ours_are_those_of_the_code() -> None:
    code = "".join(path.read_text() for path in (PROJECT / "dicomfs").rglob("*.py"))
    messages = [cells[0].removeprefix("… ") for cells in rows(chapter("Troubleshooting"))[1:]]
    ours = [message for message in messages if message in code]
    assert ours == [
        "/dev/fuse is missing",
        "is inside the archive; mount somewhere else",
        "fusermount3 is not installed",
    ]


def anchors(text: str) -> set[str]:
    """Return the names that a link may have after its `#`: titles as GitHub writes them, and HTML anchors."""
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    named = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
    return named | set(re.findall(r'<a id="([^"]+)">', text))


@pytest.mark.parametrize("page", [*NAMES, "CHANGELOG.md"])
def test_links_lead_somewhere(page: str) -> None:
    text = (PROJECT / page).read_text()
    for link in re.findall(r"\]\(([^)]+)\)", text):
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = (PROJECT / page).parent / name if name else PROJECT / page
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target.read_text()), link


def test_every_page_is_linked_from_the_readme() -> None:
    assert set(NAMES[1:]) <= set(re.findall(r"\]\(([^)#]+)", README))


@pytest.mark.parametrize("page", [*NAMES, "CHANGELOG.md"])
def test_code_in_running_text_ends_in_its_line(page: str) -> None:
    """Otherwise the checks of names would read what is between two pieces of code."""
    text = re.sub(r"^```.*?^```$", "", (PROJECT / page).read_text(), flags=re.MULTILINE | re.DOTALL)
    assert not [line for line in text.splitlines() if line.count("`") % 2]


def test_the_readme_is_short() -> None:
    assert README.count("\n") < 300


def test_files_of_the_project_that_are_named_exist() -> None:
    for name in re.findall(r"`((?:tests|systemd|dicomfs|docs|\.ci|\.github)/[\w/@.-]+)(?:::\w+)?`", ALL):
        assert (PROJECT / name).exists(), name
