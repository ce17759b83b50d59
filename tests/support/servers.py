"""Servers of files for tests: Apache, nginx and Samba, each on a port of the loopback interface, always ended."""

import contextlib
import os
import pwd
import signal
import socket
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from support.mounting import wait_for

LOOPBACK = "127.0.0.1"
_APACHE_MODULES = ("mpm_event", "authz_core", "mime", "unixd")


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0


@contextlib.contextmanager
def _running(command: Sequence[str | Path], port: int, work: Path) -> Iterator[None]:
    """Run a server in the foreground until it has been used; its children are in the same process group."""
    said = work / "said"
    with open(said, "wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    try:
        wait_for(lambda: _answers(port) or process.poll() is not None)
        assert process.poll() is None, said.read_text()
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _user() -> str:
    return pwd.getpwuid(os.getuid()).pw_name


@contextlib.contextmanager
def apache(program: str, folder: Path, work: Path) -> Iterator[str]:
    """Serve *folder* with Apache as Debian configures it, EnableMMAP on; give the address of its root."""
    port = free_port()
    modules = "".join(
        f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"
        for name in _APACHE_MODULES
        if (Path("/usr/lib/apache2/modules") / f"mod_{name}.so").exists()
    )
    config = work / "apache.conf"
    config.write_text(
        f"{modules}ServerName localhost\nServerRoot {work}\nPidFile {work}/apache.pid\nListen {LOOPBACK}:{port}\n"
        f"ErrorLog {work}/apache.log\nTypesConfig /etc/mime.types\nDocumentRoot {folder}\n"
        f"User www-data\nGroup www-data\n<Directory {folder}>\nRequire all granted\n</Directory>\n"
    )
    with _running([program, "-f", str(config), "-DFOREGROUND"], port, work):
        yield f"http://{LOOPBACK}:{port}/"


@contextlib.contextmanager
def nginx(program: str, folder: Path, work: Path) -> Iterator[str]:
    """Serve *folder* with nginx and sendfile(2); give the address of its root."""
    port = free_port()
    config = work / "nginx.conf"
    temporary = "".join(
        f"{kind}_temp_path {work}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config.write_text(
        f"daemon off; user {_user()}; pid {work}/nginx.pid; error_log {work}/nginx.log;\n"
        f"events {{}}\nhttp {{ access_log off; sendfile on; {temporary}\n"
        f"server {{ listen {LOOPBACK}:{port}; root {folder}; }} }}\n"
    )
    with _running([program, "-c", str(config), "-e", str(work / "nginx.log")], port, work):
        yield f"http://{LOOPBACK}:{port}/"


@contextlib.contextmanager
def samba(program: str, folder: Path, work: Path) -> Iterator[int]:
    """Serve *folder* as the share `archive` to guests; give the port."""
    port = free_port()
    state = work / "samba"
    state.mkdir()
    kinds = ("lock directory", "state directory", "cache directory", "pid directory", "private dir", "ncalrpc dir")
    places = "".join(f"{kind} = {state}\n" for kind in kinds)
    config = work / "smb.conf"
    config.write_text(
        f"[global]\nsmb ports = {port}\ninterfaces = lo\nbind interfaces only = yes\nmap to guest = Bad User\n"
        f"guest account = {_user()}\ndisable netbios = yes\nlog file = {work}/samba.log\nload printers = no\n{places}"
        f"[archive]\npath = {folder}\nguest ok = yes\nread only = yes\n"
    )
    with _running([program, "--foreground", "--no-process-group", f"--configfile={config}"], port, work):
        yield port


def fetch(root: str, path: bytes) -> bytes:
    """Get a file from a web server; raises OSError where the answer is none or is cut short."""
    with urllib.request.urlopen(root + urllib.parse.quote(path), timeout=120) as answer:
        data: bytes = answer.read()
        announced = int(answer.headers["Content-Length"])
    if len(data) != announced:
        raise OSError(f"{len(data)} bytes where {announced} were announced")
    return data
