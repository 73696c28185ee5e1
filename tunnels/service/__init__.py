"""The daemon as a service of the system: what starts it at login or boot, and again when it dies."""
