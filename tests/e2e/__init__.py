"""End-to-end tests: the ``tunnels`` command against a real OpenSSH server."""
