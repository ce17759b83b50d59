"""What a POSIX access control list leaves of a mode.

The mount shows modes alone. Where a file has a list, the group bits of its mode are the list's mask: the most that
any named user or group may do, not what the owning group may. Only this module knows the difference.
"""

import errno
import os
import struct

ATTRIBUTE = "system.posix_acl_access"
GROUP_BITS = 0o070
# linux/posix_acl_xattr.h: a version, then tag, permissions and id of each entry.
_VERSION, _HEAD = 2, 4
_ENTRY = struct.Struct("<HHI")
_GROUP, _MASK = 0x04, 0x10


def without_masks(mode: int, place: bytes) -> int:
    """Give *mode* with the group bits that the owning group really has at *place*, which is not followed.

    A list that cannot be read or understood leaves the group nothing: too little is safe, too much is not.
    """
    try:
        acl = os.getxattr(place, ATTRIBUTE, follow_symlinks=False)
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.EOPNOTSUPP):
            return mode
        return mode & ~GROUP_BITS
    return mode & ~GROUP_BITS | (mode & GROUP_BITS & _group_permissions(acl) << 3)


def _group_permissions(acl: bytes) -> int:
    """Find what the owning group may do: its own entry as far as the mask allows."""
    if len(acl) % _ENTRY.size != _HEAD or int.from_bytes(acl[:_HEAD], "little") != _VERSION:
        return 0
    permissions: dict[int, int] = {tag: allowed for tag, allowed, _ in _ENTRY.iter_unpack(acl[_HEAD:])}
    return permissions.get(_GROUP, 0) & permissions.get(_MASK, 0o7)
