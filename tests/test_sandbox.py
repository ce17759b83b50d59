"""What a process in the sandbox can still do, tried in processes that are thrown away."""

import errno
import json
import mmap
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from dicomfs.workers import sandbox

PREPARE = """
import ctypes, errno, json, mmap, os, resource, signal, socket, sys, threading
import imagecodecs, numpy
from imagecodecs import dicomrle_decode, htj2k_decode, jpeg2k_decode, jpeg8_decode, jpegls_decode, jpegxl_decode
from dicomfs.workers import sandbox

def attempt(action):
    try:
        action()
    except OSError as error:
        return error.errno
    except BaseException as error:
        return type(error).__name__
    return "done"
"""


def inside(code: str, *, before: str = "") -> object:
    """Run *code* in a sandbox; give what it assigned to `result`. *before* runs outside, in the same process."""
    script = (
        f"{PREPARE}\n{before}\nin_force = sandbox.apply(os.getppid())\n{code}\nprint(json.dumps(result), flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


FORBIDDEN = {
    "open a file": "open('/etc/passwd')",
    "create a file": "open('/tmp/dicomfs-was-here', 'w')",
    "list a directory": "os.listdir('/')",
    "open /proc": "open('/proc/self/maps')",
    "make a directory": "os.mkdir('/tmp/dicomfs-was-here')",
    "open a socket": "socket.socket()",
    "open a UNIX socket": "socket.socketpair()",
    "fork": "os.fork() or os._exit(0)",
    "execute": "os.execv('/bin/true', ['true'])",
    "signal its parent": "os.kill(os.getppid(), 0)",
    "signal by thread": "signal.pthread_kill(threading.get_ident(), 0) or os.kill(1, 0)",
    "raise a limit": "resource.prlimit(0, resource.RLIMIT_AS, (-1, -1))",
    "make executable memory": "mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC)",
    "share memory anew": "os.memfd_create('x')",
}


@pytest.fixture(scope="module")
def refused() -> dict[str, object]:
    """Try everything that is forbidden in one sandbox, and give what came of it."""
    tries = ", ".join(f"{name!r}: attempt(lambda: {action})" for name, action in FORBIDDEN.items())
    answer = inside(f"result = {{{tries}}}")
    assert isinstance(answer, dict)
    return answer


@pytest.mark.parametrize("what", FORBIDDEN)
def test_is_refused(what: str, refused: dict[str, object]) -> None:
    """Each forbidden thing fails with a plain refusal."""
    assert refused[what] in (errno.EPERM, errno.EACCES)


@pytest.mark.parametrize("what", ["open a file", "create a file", "list a directory", "open /proc"])
def test_files_are_out_of_reach_by_landlock_alone(what: str) -> None:
    """Where seccomp does not know the machine, Landlock still closes the file system."""
    before = "sandbox._seccomp = lambda: False"
    assert inside(f"result = [attempt(lambda: {FORBIDDEN[what]}), in_force]", before=before)[0] in (
        errno.EPERM,
        errno.EACCES,
    )


def test_files_are_out_of_reach_by_seccomp_alone() -> None:
    """A kernel without Landlock leaves the system call filter."""
    before = "sandbox._landlock = lambda: 0"
    result = inside("result = [attempt(lambda: open('/etc/passwd')), in_force]", before=before)
    assert result[0] == errno.EPERM


def test_names_what_is_in_force_and_no_more() -> None:
    """The names follow what the kernel granted."""
    everything = inside("result = in_force")
    assert isinstance(everything, list)
    assert {"limits", "no capabilities", "not dumpable", "no new privileges", "seccomp"} <= set(everything)
    assert any(re.fullmatch(r"landlock \d+", name) for name in everything)
    without = inside("result = in_force", before="sandbox._syscall = lambda *_: -1")
    assert isinstance(without, list)
    assert set(without) == {name for name in everything if not name.startswith(("landlock", "seccomp"))}


def test_the_kernel_agrees() -> None:
    """/proc shows the identity, the capabilities and the filter that were claimed."""
    before = "status = os.open('/proc/self/status', os.O_RDONLY)"
    status = inside("result = os.pread(status, 9999, 0).decode()", before=before)
    fields = dict(line.split(":\t", 1) for line in str(status).splitlines())
    assert fields["NoNewPrivs"] == "1"
    assert fields["Seccomp"] == "2"
    assert fields["CapEff"] == fields["CapPrm"] == "0" * 16
    assert set(fields["Uid"].split()) != {"0"}


def test_memory_is_limited() -> None:
    """Two gigabytes more than at the start cannot be had; one can."""
    assert inside("result = [attempt(lambda: bytearray(5 << 29)), attempt(lambda: mmap.mmap(-1, 1 << 30))]") == [
        "MemoryError",
        "done",
    ]


def test_an_open_file_cannot_grow(tmp_path: Path) -> None:
    """A descriptor that was left open by mistake cannot be used to leave data behind."""
    before = f"file = os.open({str(tmp_path / 'left')!r}, os.O_RDWR | os.O_CREAT)"
    assert inside("result = attempt(lambda: os.write(file, b'name of a patient'))", before=before) == errno.EFBIG
    assert (tmp_path / "left").read_bytes() == b""


def test_decoders_still_work() -> None:
    """Every codec decodes in the sandbox what it decodes outside, also with threads of its own."""
    before = """
grey = (numpy.arange(300 * 200) % 4096).reshape(300, 200).astype('u2')
byte = (grey >> 4).astype('u1')
frames = [
    (jpeg2k_decode, imagecodecs.jpeg2k_encode(grey, level=0, reversible=True), grey),
    (htj2k_decode, imagecodecs.htj2k_encode(grey), grey),
    (jpegls_decode, imagecodecs.jpegls_encode(grey), grey),
    (jpegxl_decode, imagecodecs.jpegxl_encode(grey, lossless=True), grey),
    (jpeg8_decode, imagecodecs.jpeg8_encode(grey, lossless=True, bitspersample=12), grey),
    (jpeg8_decode, imagecodecs.jpeg8_encode(byte, lossless=True), byte),
]
started = []
"""
    code = """
result = [bool(numpy.array_equal(decode(data), values)) for decode, data, values in frames]
thread = threading.Thread(target=started.append, args=(True,))
thread.start()
thread.join()
result += started + [bool(numpy.array_equal(jpegxl_decode(frames[3][1], numthreads=2), grey))]
"""
    assert inside(code, before=before) == [True] * 8


def test_abort_ends_the_process() -> None:
    """A decoder that gives up does so at once: raising SIGABRT against itself is allowed."""
    script = f"{PREPARE}\nsandbox.apply(os.getppid())\nos.abort()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False, timeout=100)
    assert done.returncode == -6


@pytest.mark.parametrize("shut", ["die_with", "apply"])
def test_dies_with_its_parent(shut: str) -> None:
    """A child is killed when its parent is, also one that has become another user meanwhile."""
    script = f"""
import os, sys, time
from dicomfs.workers import sandbox
parent = os.getpid()
if os.fork() == 0:
    sandbox.{shut}(parent)
    print("ready", flush=True)
    time.sleep(600)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.kill()
        assert process.stdout.read() == b""  # ends when the child has ended too


def test_does_not_outlive_a_parent_that_is_gone_already() -> None:
    """A process whose parent is not the expected one ends."""
    script = "import os; from dicomfs.workers import sandbox; sandbox.die_with(os.getpid()); print('alive')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False, timeout=100)
    assert (done.returncode, done.stdout) == (1, b"")


def run_filter(program: bytes, number: int, architecture: int, arguments: tuple[int, ...] = ()) -> int:
    """Interpret a filter in classic BPF the way the kernel does; give its verdict."""
    data = struct.pack("<IIQ6Q", number, architecture, 0, *arguments, *(0,) * (6 - len(arguments)))
    accumulator = place = 0
    while True:
        code, if_true, if_false, value = struct.unpack_from("<HBBI", program, place * 8)
        place += 1
        if code == 0x20:
            accumulator = struct.unpack_from("<I", data, value)[0]
        elif code in (0x15, 0x45):
            hit = accumulator == value if code == 0x15 else accumulator & value
            place += if_true if hit else if_false
        else:
            assert code == 0x06
            return int(value)


@pytest.mark.parametrize(
    ("machine", "architecture", "calls"),
    [
        ("x86_64", 0xC000003E, {"openat": 257, "socket": 41, "execve": 59, "kill": 62, "ptrace": 101, "io_uring": 425}),
        (
            "aarch64",
            0xC00000B7,
            {"openat": 56, "socket": 198, "execve": 221, "kill": 129, "ptrace": 117, "io_uring": 425},
        ),
    ],
)
def test_the_filter_on_each_machine(machine: str, architecture: int, calls: dict[str, int]) -> None:
    """The filter decides right for both architectures, also for the one that this test does not run on."""
    program = b"".join(sandbox.system_call_filter(machine, 4711))
    allow, refuse, missing, kill = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000
    assert {name: run_filter(program, number, architecture) for name, number in calls.items()} == dict.fromkeys(
        calls, refuse
    )

    def verdict(call: str, *arguments: int) -> int:
        return run_filter(program, sandbox.system_call_number(call, machine), architecture, arguments)

    assert verdict("recvmsg") == verdict("exit_group") == verdict("futex") == allow
    assert verdict("mmap", 0, 4096, mmap.PROT_READ | mmap.PROT_WRITE) == allow
    assert verdict("mmap", 0, 4096, mmap.PROT_READ | mmap.PROT_EXEC) == refuse
    assert verdict("mprotect", 0, 4096, mmap.PROT_EXEC) == refuse
    assert verdict("clone", 0x3D0F00) == allow  # as pthread_create does
    assert verdict("clone", 0x1200011) == refuse  # as fork does
    assert verdict("clone3") == missing
    assert verdict("tgkill", 4711, 4711, 6) == allow
    assert verdict("tgkill", 4712, 4712, 9) == refuse
    assert verdict("seccomp") == refuse
    assert run_filter(program, 0, architecture ^ 1) == kill
    assert run_filter(program, 0x40000000, architecture) == refuse  # x32


def test_call_numbers_are_those_of_the_kernel_headers() -> None:
    """Each number agrees with the headers that come with the C compiler, which building pyfuse3 needs anyway."""
    generic = Path("/usr/include/asm-generic/unistd.h")
    if not generic.exists() and not os.environ.get("CI"):
        pytest.skip("the kernel's headers (linux-libc-dev) are not installed")
    text = generic.read_text()
    found = {name: int(value) for name, value in re.findall(r"#define __NR(?:3264)?_(\w+) (\d+)", text)}
    found["newfstatat"] = found["fstatat"]
    assert {call: numbers[1] for call, numbers in sandbox.SYSTEM_CALLS.items()} == {
        call: found[call] for call in sandbox.SYSTEM_CALLS
    }
    for own in Path("/usr/include").glob("x86_64-linux-gnu/asm/unistd_64.h"):
        found = {name: int(value) for name, value in re.findall(r"#define __NR_(\w+) (\d+)", own.read_text())}
        assert {call: numbers[0] for call, numbers in sandbox.SYSTEM_CALLS.items()} == {
            call: found[call] for call in sandbox.SYSTEM_CALLS
        }


def test_all_that_drawing_needs_is_loaded_before() -> None:
    """NumPy imports parts of itself at first use; every way to draw a frame is tried as the first thing."""
    before = """
from dicomfs.workers import decoder_process as worker
from dicomfs.codecs.pixel_format import PixelFormat
from dicomfs.rendering.render import Display, Lut, Palette, Window
from dicomfs.codecs import decoder_table
decoder_table.load_all()
grey = PixelFormat(300, 300, 1, 16, 12, 11, True, "MONOCHROME1", False, "1.2.840.10008.1.2.4.91")
words = (numpy.arange(300 * 300) % 1000).astype("<i2").reshape(300, 300)
words[words < 600] = 10
j2k = bytes(imagecodecs.jpeg2k_encode(words, codecformat="j2k", reversible=True))
native = "1.2.840.10008.1.2.1"
real = PixelFormat(300, 300, 1, 32, 32, 31, False, "MONOCHROME2", False, native, True)
numbers = words.astype("<f4").tobytes()
ybr = PixelFormat(300, 300, 3, 8, 8, 7, False, "YBR_FULL", False, native)
table = Lut(0, 12, bytes(200))
displays = [
    Display(2.5, -7, window=Window(100, 300), invert=True),
    Display(window=Window(100, 300, "SIGMOID"), padding=(-5, 7)),
    Display(modality_lut=table, voi_lut=table),
    Display(),
    Display(palette=Palette(3, bytes(300), True)),
]
"""
    code = """
def made(fmt, display, data, output="png"):
    return len(worker.perform(worker.Task(fmt, 0, output, display, 0), memoryview(data)))

result = [made(grey, display, j2k) for display in displays]
result += [made(grey, Display(padding=(-5, 7)), j2k, "range"), made(grey, displays[2], j2k, "range")]
result += [made(real, display, numbers) for display in displays]
result += [made(real, displays[0], numbers, "range"), made(ybr, Display(), bytes(270000))]
"""
    sizes = inside(code, before=before)
    assert isinstance(sizes, list)
    assert len(sizes) == 14
    assert min(sizes) == 16
