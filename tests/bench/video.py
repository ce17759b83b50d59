"""Films: frames to video.mp4 beside ffmpeg that reads them as PNG, and the memory that encoding takes."""

from functools import partial
from pathlib import Path

from bench import archive
from bench.frames import films, warm_mount
from bench.load import MB, watched
from bench.rivals import program, quietly
from bench.table import Table, at_least, at_most, in_turns, timed

# What workers/film.py has libx264 do with 640x480 pixels (see codecs/film_size.py) at 10 frames a second, but for the
# threads. Objects that state no rate have that.
_SETTINGS = (
    "-c:v libx264 -preset veryfast -bf 0 -g 30 -aq-strength 0.5 -x264-params mbtree=0:ipratio=1.1"
    " -crf 6 -maxrate 3537920 -bufsize 1415168 -pix_fmt yuv420p -movflags faststart"
).split()
_RATE = "10"
MANY = 2000


def to_video(table: Table, place: Path, rounds: int) -> None:
    """The film of a colour object out of a new mount; ffmpeg makes the same of its frames, copied out before or not."""
    source, out = films(place), place / "film.mp4"
    ffmpeg = program("ffmpeg")
    work = f"{archive.COLOUR_FRAMES} colour JPEG 640x480 to video.mp4"
    copied = place / "frames"
    with warm_mount(source, place) as mount:
        quietly("cp", "-r", "--no-preserve=mode", mount.path / "colour.dcm" / "frames", copied)
    archive.settled(copied)

    def ours() -> float:
        with warm_mount(source, place, "--cine", "all") as mount:
            return timed(lambda: quietly("cp", mount.path / "colour.dcm" / "video.mp4", out))

    def theirs(frames: Path) -> float:
        command = ["ffmpeg", "-y", "-framerate", _RATE, "-i", frames / "%04d.png", *_SETTINGS, out]
        return timed(lambda: quietly(*command))

    def through_the_mount() -> float:
        with warm_mount(source, place) as mount:
            return theirs(mount.path / "colour.dcm" / "frames")

    sides = {
        "ours": ours,
        "mount": through_the_mount if ffmpeg else None,
        "copies": partial(theirs, copied) if ffmpeg else None,
    }
    times = in_turns(2 * rounds, sides)
    table.faster(work, "ffmpeg -i frames/%04d.png in a new mount", times, at_least(1), name="mount")
    table.faster(work, "ffmpeg -i frames/%04d.png, copied before", times, at_least(1), name="copies")


def memory(table: Table, place: Path, rounds: int) -> None:
    """Memory of the daemon and all its processes, what they share counted once, while it encodes many frames."""
    source = place / "source"
    source.mkdir()
    archive.colour_jpeg(source / "film.dcm", MANY)
    archive.small_jpegs(source / "warm.dcm", 20)
    with warm_mount(source, place, "--cine", "all") as mount, watched(mount.process.pid) as seen:
        quietly("cp", mount.path / "film.dcm" / "video.mp4", place / "film.mp4")
    table.figure(
        f"{MANY:,} colour JPEG 640x480 to video.mp4: all processes grow by (PSS)",
        (max(held.shared for held in seen) - seen[0].shared) / MB,
        "MB",
        at_most(128, "MB"),
        rival="themselves before",
        theirs=f"{seen[0].shared / MB:.0f} MB",
    )
