"""Starting, watching and ending containers: spawner → monitor → init.

Imports the standard library and ``kernel`` only: the spawner is a fresh interpreter that has to be up in milliseconds.
"""
