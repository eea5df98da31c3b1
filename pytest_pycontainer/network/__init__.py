"""Networks of containers: addresses, the bridge, published ports, names.

Imports the standard library and ``kernel``.
"""
