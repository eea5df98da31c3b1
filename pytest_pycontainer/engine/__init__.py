"""The object that a caller holds: ``Engine``, and the handles that it returns."""
