"""The only package that imports asyncssh: where a destination is, whose key it shows, the connection to it.

Importing the package itself imports nothing, and neither do its pure parts import asyncssh (it costs
160 ms and starts child processes): the command line uses ``resolve`` for ``tunnels check``.
"""
