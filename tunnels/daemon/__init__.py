"""The per-user background process: wires the other rooms together and serves the control socket."""
