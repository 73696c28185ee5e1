"""The command line: the only package that imports typer and rich.

It never imports the engine, except inside the functions of ``up -f``, ``demo``, ``check`` and
``daemon run``, which need it.
"""
