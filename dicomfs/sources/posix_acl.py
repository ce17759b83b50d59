"""What access control lists leave of a mode.

The mount shows modes alone. Whom a list of the source denies something, the mode that is shown must deny it too; whom
only a list lets in is not let in by the mount. Nobody outside of this module knows more of lists than that.
"""

import errno
import os
import stat
import struct
from collections.abc import Collection, Sequence
from functools import reduce
from operator import and_, or_
from typing import NamedTuple

ATTRIBUTE = "system.posix_acl_access"
# What a list that cannot be read or understood leaves: too little is safe, too much is not.
OWNER_ALONE = ~0o077
_ALL = 0o7
# linux/posix_acl_xattr.h: a version, then tag, permissions and id of each entry.
_VERSION, _HEAD = 2, 4
_ENTRY = struct.Struct("<HHI")
_USER, _GROUP_OBJ, _GROUP, _MASK = 0x02, 0x04, 0x08, 0x10
# Of these, modes are at best a summary of the lists that a server keeps (RFC 8881 6.4, MS-DTYP 2.4.5, OpenAFS).
_FILE_SYSTEMS = frozenset(("nfs4", "cifs", "smb3", "smbfs", "gpfs", "afs"))
# Where such lists show, on whatever file system: ZFS, ntfs-3g, and those above.
_ATTRIBUTES = frozenset(
    f"system.{name}"
    for name in ("nfs4_acl", "nfs4_acl_xdr", "nfs4_dacl", "richacl", "ntfs_acl", "cifs_acl", "cifs_ntsd", "smb3_acl")
)


class Rights(NamedTuple):
    """A mode, with whom it is about."""

    mode: int
    uid: int
    gid: int


class _List(NamedTuple):
    """A list as far as it says more than a mode: who is named may do what, within the mask."""

    users: dict[int, int]
    groups: dict[int, int]
    owning_group: int
    mask: int


def permitted(mode: int, uid: int, gid: int, place: bytes) -> int:
    """Give *mode* as far as the list at *place*, which is not followed, denies nobody what it says.

    *uid* and *gid* own the file. The group bits of a mode with a list are the mask, not what the group may do.
    """
    try:
        acl = os.getxattr(place, ATTRIBUTE, follow_symlinks=False)
    except OSError as error:
        return mode if error.errno in (errno.ENODATA, errno.EOPNOTSUPP) else mode & OWNER_ALONE
    found = _parsed(acl)
    return mode & OWNER_ALONE if found is None else _narrowed(Rights(mode, uid, gid), found)


def passable(rights: Rights, way: Sequence[Rights]) -> int:
    """Give the permission bits that are left to a file of *rights* behind directories on the *way* to it.

    A link shows the file where these directories do not stand above it. Each class of users keeps its bits if all
    who are of it may search every directory, whatever groups they are in.
    """
    left = 0o777
    for directory in way:
        owner, group, other = (bool(directory.mode & bit) for bit in (stat.S_IXUSR, stat.S_IXGRP, stat.S_IXOTH))
        same_owner, same_group = directory.uid == rights.uid, directory.gid == rights.gid
        # Whoever is not the owner of both may be the owner of the directory.
        stranger = owner or same_owner
        if not (owner if same_owner else group and other):
            left &= ~0o700
        if not (stranger and group and (other or same_group)):
            left &= ~0o070
        if not (stranger and other and (group or same_group)):
            left &= ~0o007
    return left


def has_other_lists(file_system: str, attributes: Collection[str]) -> bool:
    """Tell whether a file system has lists that its modes do not show (NFSv4, SMB and the like).

    *file_system* is its type in the mount table, *attributes* are the names of extended attributes found on it.
    """
    return file_system in _FILE_SYSTEMS or not _ATTRIBUTES.isdisjoint(attributes)


def _narrowed(rights: Rights, found: _List) -> int:
    """Take from group and others what the list denies one of them (acl(5), access check algorithm)."""
    # The owner is never asked for by name, nor does anybody of the owning group count among the others.
    users = [allowed for uid, allowed in found.users.items() if uid != rights.uid]
    groups = [allowed for gid, allowed in found.groups.items() if gid != rights.gid]
    own = found.owning_group | found.groups.get(rights.gid, 0)
    named = reduce(and_, users, _ALL) & found.mask if users else _ALL
    group = own & found.mask & named
    other = named & (reduce(and_, groups, _ALL) & found.mask if groups else _ALL)
    return rights.mode & (OWNER_ALONE | group << 3 | other)


def _parsed(acl: bytes) -> _List | None:
    if len(acl) % _ENTRY.size != _HEAD or int.from_bytes(acl[:_HEAD], "little") != _VERSION:
        return None
    found: dict[int, dict[int, int]] = {tag: {} for tag in (_USER, _GROUP_OBJ, _GROUP, _MASK)}
    for tag, allowed, number in _ENTRY.iter_unpack(acl[_HEAD:]):
        found.setdefault(tag, {})[number] = allowed
    owning_group, mask = (found[tag].values() for tag in (_GROUP_OBJ, _MASK))
    return _List(found[_USER], found[_GROUP], reduce(or_, owning_group, 0), reduce(and_, mask, _ALL))
