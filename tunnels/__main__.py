"""``python -m tunnels``, and the ``tunnels`` command."""

from tunnels.cli.main import main

if __name__ == "__main__":
    main()
