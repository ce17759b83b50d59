"""The door of this folder: the jobs, the sizes of what they make, and the host that has a job done.

Nothing else of it is imported from outside, but for the process itself, which the fork server of the workers starts.
"""

from dicomfs.video.encode import Encode
from dicomfs.video.film_host import FilmFailed, FilmHost, TooLarge
from dicomfs.video.film_size import Effort, efforts, film_size, remuxed_size
from dicomfs.video.poster import SEEN, PosterFrame
from dicomfs.video.process import Job
from dicomfs.video.remux import DEMUXERS, Remux

__all__ = [
    "DEMUXERS",
    "SEEN",
    "Effort",
    "Encode",
    "FilmFailed",
    "FilmHost",
    "Job",
    "PosterFrame",
    "Remux",
    "TooLarge",
    "efforts",
    "film_size",
    "remuxed_size",
]
