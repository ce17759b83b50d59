"""Reduce modes to what access control lists allow.

The mount shows modes alone. So the mode that is shown must deny what a list of the source denies anybody, and users
who are let in by a list alone are not let in by the mount. Only this module knows the format of lists.
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
# The bits that remain where a list cannot be read or understood: too few are safe, too many are not.
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
    """A mode and its owners."""

    mode: int
    uid: int
    gid: int


class _List(NamedTuple):
    """The part of a list that a mode lacks: the permissions of named users and groups, limited by the mask."""

    users: dict[int, int]
    groups: dict[int, int]
    owning_group: int
    mask: int


def effective_mode(mode: int, uid: int, gid: int, place: bytes) -> int:
    """Return *mode* without the bits that the list at *place* denies somebody; a link there is not followed.

    *uid* and *gid* own the file. In a mode with a list, the group bits are the mask, not the rights of the group.
    """
    try:
        acl = os.getxattr(place, ATTRIBUTE, follow_symlinks=False)
    except OSError as error:
        return mode if error.errno in (errno.ENODATA, errno.EOPNOTSUPP) else mode & OWNER_ALONE
    found = _parsed(acl)
    return mode & OWNER_ALONE if found is None else _narrowed(Rights(mode, uid, gid), found)


def passable(rights: Rights, way: Sequence[Rights]) -> int:
    """Return the permission bits that directories on the *way* to a file of *rights* leave of it.

    A link shows the file outside of these directories. Each class of users keeps its bits if all its members may search
    every directory, whatever groups they are in.
    """
    left = 0o777
    for directory in way:
        owner, group, other = (bool(directory.mode & bit) for bit in (stat.S_IXUSR, stat.S_IXGRP, stat.S_IXOTH))
        same_owner, same_group = directory.uid == rights.uid, directory.gid == rights.gid
        # A user who does not own both may own the directory.
        stranger = owner or same_owner
        if not (owner if same_owner else group and other):
            left &= ~0o700
        if not (stranger and group and (other or same_group)):
            left &= ~0o070
        if not (stranger and other and (group or same_group)):
            left &= ~0o007
    return left


def has_other_lists(file_system: str, attributes: Collection[str]) -> bool:
    """Return whether a file system has lists that its modes do not show (NFSv4, SMB and the like).

    *file_system* is its type in the mount table, *attributes* are the names of extended attributes found on it.
    """
    return file_system in _FILE_SYSTEMS or not _ATTRIBUTES.isdisjoint(attributes)


def _narrowed(rights: Rights, found: _List) -> int:
    """Remove from group and others what the list denies any of them (acl(5), access check algorithm)."""
    # The owner is never looked up by name, and members of the owning group are not among the others.
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
