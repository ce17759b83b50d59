"""The notification protocol of systemd (sd_notify(3))."""

import os
import socket


def notify(state: str) -> None:
    """Send *state*, such as READY=1, to the service manager that has started us, if one has."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        channel.connect("\0" + address[1:] if address.startswith("@") else address)
        channel.sendall(state.encode())
