"""Moves bytes between clients and channels; knows nothing of SSH beyond the shape of a channel."""
