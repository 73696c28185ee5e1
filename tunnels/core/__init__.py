"""The pure heart: values and decisions. No asyncio, sockets, files, clocks or randomness in here."""
