"""Removing a container's directory."""

from __future__ import annotations

import os
import stat


def remove_tree(path: str | os.PathLike[str]) -> None:
    """Removes a directory and all below it, following no link (CVE-2024-23652). What is gone already is no error.

    Everything is done through descriptors of the directories walked, so that nothing can be swapped in between.
    """
    parent = os.open(os.path.dirname(os.path.abspath(path)), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _remove_directory(os.path.basename(os.path.abspath(path)), parent)
    finally:
        os.close(parent)


def _remove_directory(name: str, parent: int) -> None:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        try:
            directory = os.open(name, flags, dir_fd=parent)
        except PermissionError:
            # An ordinary user is kept out of a directory of their own without permissions, such as overlayfs's work.
            os.chmod(name, stat.S_IRWXU, dir_fd=parent)
            directory = os.open(name, flags, dir_fd=parent)
    except FileNotFoundError:
        return
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    _remove_directory(entry.name, directory)
                else:
                    _remove_file(entry.name, directory)
    finally:
        os.close(directory)
    try:
        os.rmdir(name, dir_fd=parent)
    except FileNotFoundError:
        return


def _remove_file(name: str, directory: int) -> None:
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return
