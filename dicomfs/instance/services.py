"""What serves every file of a mount: the archive, the workers, and the caches of headers, texts and names."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from dicomfs.cache.disk import DiskCache
from dicomfs.cache.memory import Lru
from dicomfs.instance.instance import Instance
from dicomfs.instance.remark_log import RemarkLog
from dicomfs.instance.view_options import USUAL_VIEW, ViewOptions
from dicomfs.sources.open_files import OpenFiles
from dicomfs.sources.source import Source
from dicomfs.vfs.builds import BuildCache
from dicomfs.vfs.nodes import Children
from dicomfs.workers.frame_cache import FrameCache
from dicomfs.workers.prefetcher import Prefetcher

# A header costs 20 to 100 KB in memory, the names and sizes of one file 20 KB: room for some hundred headers in use and
# for the listings of some six thousand files, so that listing them again reads nothing. A header that is larger than
# all that is kept alone: without it each frame of a large Enhanced object would parse it again.
HEADER_BYTES = 32 << 20
TEXT_BYTES = 8 << 20
CHILDREN_BYTES = 120 << 20
# Memory that Python and malloc take in addition to what is weighed, measured over 9,000 small objects of many kinds.
_OVERHEAD = 9 / 8
# Files, each with some 20 KB of attributes at most.
_MAX_ATTRIBUTES = 200
# Digests of whole files, 32 bytes each.
_MAX_DIGESTS = 10_000
# On disk, for what was built or decoded.
BUILT_BYTES = 2 << 30


@dataclass(frozen=True, slots=True, eq=False)
class MountServices:
    """What serves every file of a mount.

    *view* is what the user chose about the virtual files.
    """

    source: Source
    prefetcher: Prefetcher
    instances: Lru[Instance]
    texts: Lru[bytes]
    children: Lru[Children]
    attributes: Lru[Mapping[bytes, bytes]]
    digests: Lru[bytes]
    open_files: OpenFiles
    builds: BuildCache
    view: ViewOptions = USUAL_VIEW
    remark_log: RemarkLog = field(default_factory=RemarkLog)

    @property
    def frames(self) -> FrameCache:
        """The frame cache, with the pool of workers below it."""
        return self.prefetcher.frames

    @classmethod
    def of(
        cls,
        source: Source,
        prefetcher: Prefetcher,
        view: ViewOptions = USUAL_VIEW,
        built: int = BUILT_BYTES,
        disk: DiskCache | None = None,
    ) -> "MountServices":
        """Serve *source* with caches of the usual size, and *built* bytes for built files that *disk* does not take."""
        return cls(
            source,
            prefetcher,
            Lru(HEADER_BYTES, _header_bytes),
            Lru(TEXT_BYTES, len),
            Lru(CHILDREN_BYTES, _children_bytes),
            Lru(_MAX_ATTRIBUTES, _one),
            Lru(_MAX_DIGESTS, _one),
            OpenFiles(),
            BuildCache(built, max(2, prefetcher.frames.pool.workers), disk, source.descriptors),
            view,
        )


def _header_bytes(instance: Instance) -> int:
    return min(int(instance.weight * _OVERHEAD), HEADER_BYTES)


def _children_bytes(children: Children) -> int:
    return min(int(children.weight * _OVERHEAD), CHILDREN_BYTES)


def _one(value: object) -> int:
    """Count entries rather than bytes."""
    return 1
