"""The full-screen view, ``tunnels ui``. Needs the extra ``ui``; nothing else of ours imports it."""
