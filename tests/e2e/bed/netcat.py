"""What ``nc HOST PORT`` does, as a program of its own: not every machine has one, and there are four of them."""

from __future__ import annotations

import os
import socket
import sys
import threading


def main() -> None:
    """Carry bytes between standard input and output and a server, until the server ends."""
    with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as server:

        def send() -> None:
            while data := os.read(0, 65536):
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)

        threading.Thread(target=send, daemon=True).start()
        while data := server.recv(65536):
            view = memoryview(data)
            while view:
                view = view[os.write(1, view) :]


if __name__ == "__main__":
    main()
