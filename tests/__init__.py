"""Tests mirror the source; ``e2e`` drives the command line against a real sshd."""
