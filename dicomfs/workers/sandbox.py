"""What a decoding process may no longer do: only this module talks to the kernel's protections.

Decoders are C code that reads hostile bytes. Before the first such byte a worker gives up, for good and all,
the file system, the network, other processes, privileges and most of its memory. Everything goes through
ctypes, since a protection that needs one more package is one that is not there. A protection that a kernel
lacks is left out, and `apply` names those in force.
"""

import contextlib
import ctypes
import os
import platform
import resource
import signal
import struct
import sys
from collections.abc import Iterable

GIB = 1 << 30

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_NOBODY, _CAP_KILL = 65534, 5

# Landlock numbers its calls alike on every architecture.
_LANDLOCK_CREATE_RULESET, _LANDLOCK_RESTRICT_SELF = 444, 446
_LANDLOCK_VERSION = 1

# Room for the three standard streams, the control socket, a memory slot, the process statistics and a spare of each.
_OPEN_FILES = 16

_SECCOMP_SET_MODE_FILTER, _SECCOMP_SPEC_ALLOW = 1, 4
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _ENOSYS = 1, 38
_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_PROT_EXEC, _CLONE_THREAD = 4, 0x10000

# Per architecture: AUDIT_ARCH, the number of seccomp(2), then all calls that a worker may make.
_AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
SYSTEM_CALLS = {
    # name: (x86_64, aarch64)
    "read": (0, 63),
    "write": (1, 64),
    "close": (3, 57),
    "fstat": (5, 80),
    "newfstatat": (262, 79),  # glibc's fstat on some versions; tells what exists, opens nothing
    "lseek": (8, 62),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "brk": (12, 214),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "pread64": (17, 67),
    "readv": (19, 65),
    "writev": (20, 66),
    "sched_yield": (24, 124),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "dup": (32, 23),
    "nanosleep": (35, 101),
    "getpid": (39, 172),
    "sendto": (44, 206),
    "recvfrom": (45, 207),
    "sendmsg": (46, 211),
    "recvmsg": (47, 212),
    "clone": (56, 220),
    "exit": (60, 93),
    "uname": (63, 160),
    "fcntl": (72, 25),
    "gettimeofday": (96, 169),
    "getrusage": (98, 165),
    "sysinfo": (99, 179),
    "times": (100, 153),
    "getuid": (102, 174),
    "getgid": (104, 176),
    "geteuid": (107, 175),
    "getegid": (108, 177),
    "getppid": (110, 173),
    "sigaltstack": (131, 132),
    "gettid": (186, 178),
    "futex": (202, 98),
    "sched_getaffinity": (204, 123),
    "restart_syscall": (219, 128),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "exit_group": (231, 94),
    "tgkill": (234, 131),
    "ppoll": (271, 73),
    "set_robust_list": (273, 99),
    "getcpu": (309, 168),
    "seccomp": (317, 277),
    "getrandom": (318, 278),
    "membarrier": (324, 283),
    "rseq": (334, 293),
    "clone3": (435, 435),
}

_libc = ctypes.CDLL(None, use_errno=True)


def apply(parent: int, memory: int = 2 * GIB) -> tuple[str, ...]:
    """Give up everything that decoding does not need, with *memory* bytes of address space beyond those in use.

    Ends with process *parent*. Returns the names of the protections in force. Must run in a process of one
    thread; cannot be undone.
    """
    in_force = ["limits"]
    _limit(memory)
    if _become_nobody():
        in_force.append("unprivileged user")
    if _drop_capabilities():
        in_force.append("no capabilities")
    # A change of user resets both of these.
    die_with(parent)
    if _prctl(_PR_SET_DUMPABLE, 0):
        in_force.append("not dumpable")
    if _prctl(_PR_SET_NO_NEW_PRIVS, 1):
        in_force.append("no new privileges")
        if version := _landlock():
            in_force.append(f"landlock {version}")
        if _seccomp():
            in_force.append("seccomp")
    return tuple(in_force)


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent, process *parent*, ends; end now if it has."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _prctl(option: int, value: int) -> bool:
    return bool(_libc.prctl(option, *map(ctypes.c_ulong, (value, 0, 0, 0))) == 0)


def _syscall(number: int, *arguments: int) -> int:
    """Make system call *number*; pointers are given as integers. Returns -1 on failure."""
    return int(_libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments)))


def _limit(memory: int) -> None:
    """Limit address space, open files, written files and core dumps (a core holds pixels of a patient).

    CPU time has no limit here: it would add up over the life of a worker, and the daemon's clock ends a long task.
    """
    with open("/proc/self/statm", "rb") as statm:
        used = int(statm.read().split()[0]) * resource.getpagesize()
    wanted = (
        (resource.RLIMIT_AS, used + memory),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    )
    for which, value in wanted:
        hard = resource.getrlimit(which)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (value, value))


def _become_nobody() -> bool:
    """Leave the superuser's identity; in a user namespace without that user it stays.

    Also where the daemon has no CAP_KILL, and so could not end a process of another user.
    """
    if os.geteuid() != 0:
        return True
    capabilities = (ctypes.c_uint32 * 6)()
    _libc.capget(_capability_header(), capabilities)
    if not capabilities[0] & 1 << _CAP_KILL:
        return False
    with contextlib.suppress(OSError):
        os.setgroups([])
    with contextlib.suppress(OSError):
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    return os.geteuid() != 0


def _drop_capabilities() -> bool:
    return bool(_libc.capset(_capability_header(), (ctypes.c_uint32 * 6)()) == 0)


def _capability_header() -> ctypes.Array[ctypes.c_uint32]:
    """Name version 3 of the capability calls, and this process (linux/capability.h)."""
    return (ctypes.c_uint32 * 2)(0x20080522, 0)


def _landlock() -> int:
    """Forbid every use of the file system, TCP, and signals and abstract sockets of others; return the version."""
    version = _syscall(_LANDLOCK_CREATE_RULESET, 0, 0, _LANDLOCK_VERSION)
    if version < 1:
        return 0
    rights = 13 + (version >= 2) + (version >= 3) + (version >= 5)  # one bit each, added in this order
    handled = [(1 << rights) - 1]
    if version >= 4:
        handled.append(0b11)
    if version >= 6:
        handled.append(0b11)
    attributes = (ctypes.c_uint64 * len(handled))(*handled)
    rules = _syscall(_LANDLOCK_CREATE_RULESET, ctypes.addressof(attributes), ctypes.sizeof(attributes), 0)
    if rules < 0:
        return 0
    try:
        return version if _syscall(_LANDLOCK_RESTRICT_SELF, rules, 0) == 0 else 0
    finally:
        os.close(rules)


def _seccomp() -> bool:
    """Refuse every system call that is not in the list above, with EPERM so that libraries can go on."""
    machine = platform.machine()
    if machine not in _AUDIT or sys.maxsize < 1 << 32:
        return False
    code = b"".join(system_call_filter(machine, os.getpid()))
    buffer = ctypes.create_string_buffer(code, len(code))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer)))
    # Workers hold nothing that speculation could give away to them, and switching it off costs speed.
    return any(
        _syscall(system_call_number("seccomp", machine), _SECCOMP_SET_MODE_FILTER, flags, ctypes.addressof(program))
        == 0
        for flags in (_SECCOMP_SPEC_ALLOW, 0)
    )


def system_call_number(call: str, machine: str) -> int:
    """Return the number of system call *call* on *machine*, as uname(2) names that."""
    return SYSTEM_CALLS[call][list(_AUDIT).index(machine)]


def system_call_filter(machine: str, pid: int) -> Iterable[bytes]:
    """Write the filter for *machine* in classic BPF: 8 bytes an instruction, see struct seccomp_data."""
    yield _instruction(_LOAD, 4)  # arch
    yield _instruction(_EQUAL, _AUDIT[machine], 1, 0)
    yield _instruction(_RETURN, _KILL)
    yield _instruction(_LOAD, 0)  # nr
    # Executable memory, new processes and signals to others are refused by argument. clone3 hides its flags
    # from a filter; without it the C library uses clone.
    deny = _ERRNO | _EPERM
    yield from _by_argument(system_call_number("mmap", machine), 2, _ANY_BIT, _PROT_EXEC, deny, _ALLOW)
    yield from _by_argument(system_call_number("mprotect", machine), 2, _ANY_BIT, _PROT_EXEC, deny, _ALLOW)
    yield from _by_argument(system_call_number("clone", machine), 0, _ANY_BIT, _CLONE_THREAD, _ALLOW, deny)
    yield from _by_argument(system_call_number("tgkill", machine), 0, _EQUAL, pid, _ALLOW, deny)
    for call in SYSTEM_CALLS:
        if call in ("mmap", "mprotect", "clone", "tgkill", "seccomp"):
            continue
        yield _instruction(_EQUAL, system_call_number(call, machine), 0, 1)
        yield _instruction(_RETURN, _ERRNO | _ENOSYS if call == "clone3" else _ALLOW)
    yield _instruction(_RETURN, deny)


def _by_argument(number: int, argument: int, test: int, value: int, yes: int, no: int) -> Iterable[bytes]:
    yield _instruction(_EQUAL, number, 0, 4)
    yield _instruction(_LOAD, 16 + 8 * argument)  # the low half; both architectures are little endian
    yield _instruction(test, value, 0, 1)
    yield _instruction(_RETURN, yes)
    yield _instruction(_RETURN, no)


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, value)
