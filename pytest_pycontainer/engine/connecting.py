"""Handles on containers whose owner is another engine, perhaps of another process."""

from __future__ import annotations

from collections.abc import Callable

from pytest_pycontainer.engine.connection import MonitorConnection
from pytest_pycontainer.engine.container import Container
from pytest_pycontainer.engine.image import Image
from pytest_pycontainer.engine.records import Reservation
from pytest_pycontainer.engine.resources import Resources
from pytest_pycontainer.engine.service import HandleT
from pytest_pycontainer.errors import ContainerNotFoundError
from pytest_pycontainer.image.config import ImageConfig


def connect(resources: Resources, name: str, forget: Callable[[Container], None]) -> Container:
    """As ``connect_as``, with a handle of the usual kind."""
    return connect_as(Container, resources, name, forget)


def connect_as(handle: type[HandleT], resources: Resources, name: str, forget: Callable[[Container], None]) -> HandleT:
    """A handle on the container of that name or id, as its monitor describes it.

    It owns nothing: this process's end leaves the container as it is. ``forget`` is called when that is removed. Raises
    ContainerNotFoundError, AmbiguousContainerError, and StoreError.
    """
    record, directory, cgroup = resources.records.find(name)
    try:
        connection = MonitorConnection.connect(directory)
    except OSError as error:  # its monitor has just ended
        raise ContainerNotFoundError(name) from error
    try:
        description = connection.describe(record.name)
        config = resources.store.config(record.image_id) if record.image_id else ImageConfig.scratch()
    except BaseException:
        connection.close()
        raise
    image = Image(record.image_id, record.image, config, resources.store)
    reservation = Reservation(record.id, directory, -1, cgroup)
    return handle(
        record,
        image,
        description,
        resources=resources,
        reservation=reservation,
        connection=connection,
        forget=forget,
    )
