"""Keeps SSH tunnels up.

The map of the house; arrows point one way (``tests/test_architecture.py`` holds them):

``errors``, ``tasks``
    One tree of errors; the owner of background tasks.
``core``
    Pure: values, the OpenSSH forward grammar, the state machine of a tunnel, SOCKS and HTTP, the
    control protocol. No asyncio, sockets, files, clocks or randomness.
``profiles``, ``paths``
    The profile file becomes frozen profiles; where files live.
``process``, ``password_command``, ``system_keyring``
    Run a command that a profile names; ask the keyring; both bounded.
``terminal``
    The care of a terminal: hidden answers, Ctrl-C and Ctrl-Z, for the command line and for ``up -f``.
``history_file``
    What happened to the tunnels, as the daemon writes it and ``why`` reads it.
``ssh``
    The only package that imports asyncssh: resolving, host keys, connecting.
``forwarding``
    Moves bytes between clients and channels; knows nothing of SSH but the shape of a channel.
``supervisor``
    Performs what the state machine decides, for every tunnel.
``daemon``
    Wires the above together and serves the control socket.
``control_socket``, ``client``, ``spawn``
    How the command line reaches the daemon.
``browsers``, ``browser_folder``
    Find the person's browser; give it a profile that is thrown away.
``proxy_probe``, ``leak_watch``
    Ask a proxy what programs ask it; watch whom this machine asks meanwhile.
``service``
    The daemon as a service of systemd or launchd.
``cli``
    The only package that imports typer and rich, but for ``ui``; never the engine.
``programs``, ``log_file``
    The program behind a client's address; the log as it grows.
``ui``
    ``tunnels ui``: the only package that imports textual, and only that command imports it.
"""

__version__ = "0.1.0"
