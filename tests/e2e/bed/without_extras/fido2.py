"""In the way of the real one: most people do not have the extra, and importing it takes a while."""

raise ImportError("not here")
