"""``python -m pytest_pycontainer`` is the ``pycontainer`` command."""

import sys

from pytest_pycontainer.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
