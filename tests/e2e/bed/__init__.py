"""The test bed: everything that an end-to-end test needs around the product.

``wait``, ``ports``
    Waiting for an event with a limit; ports that nobody else takes.
``servers``, ``clients``
    Small programs behind the tunnel and in front of it. They need nothing but Python's standard
    library and run as they are in the containers of ``docker-compose.test.yml``.
``traffic``
    What a port has to carry, as questions that any tunnel can be asked.
``socks``
    An honest client for SOCKS 4, 4a and 5.
``sshd``
    A real OpenSSH server on loopback that can be killed, frozen and brought back.
``accounts``
    An account with a password and one-time codes, and servers that ask for them; made by root.
``leaks``
    Every secret that a test has used, and the search for it where none may be.
``site``
    Where the tunnels lead to: an SSH server and the services behind it, on loopback or in containers.
``netns``, ``faults``
    A laptop, a router and a server in network namespaces, and what goes wrong between them.
``crowd``
    Clients in a namespace: some that keep coming, and one that stays.
``product``
    The ``tunnels`` command with a home of its own. Nothing of the product is imported.
``screen``
    A terminal for the command that draws on all of it.
``terminal``
    A terminal for the commands that ask.
"""
