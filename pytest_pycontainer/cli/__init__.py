"""The ``pycontainer`` command: docker's verbs and flags, one module per noun."""
