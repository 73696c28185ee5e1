"""Performs what the state machine decides, for every tunnel. Never imports ``ssh``: connecting is passed in."""
