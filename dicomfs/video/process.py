"""The process for films: it encodes cine loops, puts stored videos into MP4, and draws posters of them.

PyAV does all of that. The process is forked like a decoder and shut in like one (see `workers.sandbox`) before it sees
anything of a file.
"""

import importlib
import mmap
import pickle
import pkgutil
import socket

from dicomfs.video.encode import Encode
from dicomfs.video.poster import PosterFrame
from dicomfs.video.protocol import CALL, DONE, FAILED, HostClient, Unusable
from dicomfs.video.remux import Remux

Job = Encode | Remux | PosterFrame
"""What the process is asked to do: it has a method `run`, which raises Unusable and whatever PyAV raises."""


def prepare() -> None:
    """Load the libraries, with the parts that PyAV loads on first use, since that opens files."""
    import av

    for module in pkgutil.walk_packages(av.__path__, "av."):
        if module.name not in ("av.__main__", "av.datasets"):  # a program, and a downloader of samples
            importlib.import_module(module.name)
    av.logging.set_level(None)  # messages may quote the data


def serve(channel: socket.socket, slot: mmap.mmap, described: int) -> None:
    """Do the job that is pickled in *slot*, and report how it ended."""
    job: Job = pickle.loads(slot[:described])  # noqa: S301  from the daemon
    end, reason = FAILED, ""
    try:
        job.run(HostClient(channel, slot))
        end = DONE
    except Unusable as error:
        reason = str(error)
    except MemoryError:
        reason = "the film needs more memory than its process may use"
    except BaseException as error:  # noqa: BLE001  the process boundary; the text may quote the data
        reason = f"the film could not be made ({type(error).__name__})"
    channel.send(CALL.pack(end, 0, 0) + reason.encode())
