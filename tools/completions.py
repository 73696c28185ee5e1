"""Completion scripts for the shells, as ``tunnels --show-completion`` prints them.

They are in the wheel, where packages of distributions and ``pip install --user`` put such files. Each asks
``tunnels`` itself, so they never fall behind it.
"""

from __future__ import annotations

from typer._completion_shared import get_completion_script

_VARIABLE = "_TUNNELS_COMPLETE"

#: In a folder of $fpath the file is a function body: the first Tab runs it, and has to answer as well.
_FIRST_TAB = '\n_tunnels_completion "$@"\n'


def scripts() -> dict[str, str]:
    """Return the scripts by the names that the shells look for."""
    made = {
        shell: get_completion_script(prog_name="tunnels", complete_var=_VARIABLE, shell=shell)
        for shell in ("bash", "zsh", "fish")
    }
    return {
        "tunnels.bash": made["bash"].strip() + "\n",
        "_tunnels": made["zsh"].strip() + "\n" + _FIRST_TAB,
        "tunnels.fish": made["fish"].strip() + "\n",
    }
