"""Fixtures that are declared by a call: what stands behind the factories in ``fixtures``."""
