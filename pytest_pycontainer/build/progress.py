"""What a build tells while it goes on: events as values, for whoever shows them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class BuildStarted:
    """The first event: the indexes of the stages that the build needs, in the Dockerfile's order, and their names."""

    stages: tuple[int, ...]
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StageEvent:
    """Something about the stage with this index. The events of one stage come in order, those of several mixed."""

    stage: int


@dataclass(frozen=True, slots=True)
class StepStarted(StageEvent):
    """Step ``number`` of ``total`` begins; ``text`` is the instruction as written."""

    number: int
    total: int
    text: str


@dataclass(frozen=True, slots=True)
class TriggersStarted(StageEvent):
    """The base image has ONBUILD instructions, which are carried out as a part of FROM's step."""

    count: int


@dataclass(frozen=True, slots=True)
class CacheUsed(StageEvent):
    """The step need not be done: what it made is known."""


@dataclass(frozen=True, slots=True)
class ContainerStarted(StageEvent):
    """The step's command is about to run."""

    container: str


@dataclass(frozen=True, slots=True)
class OutputLine(StageEvent):
    """A line that the command printed."""

    text: str


@dataclass(frozen=True, slots=True)
class ContainerRemoved(StageEvent):
    """The command has ended with code 0, and its container is gone."""

    container: str


@dataclass(frozen=True, slots=True)
class StepEnded(StageEvent):
    """The step, or a trigger, is done; ``image`` is the ID of what stands after it."""

    image: str
    is_trigger: bool = False


@dataclass(frozen=True, slots=True)
class StepFailed(StageEvent):
    """The step can't be done: the build ends, and its error says why."""


@dataclass(frozen=True, slots=True)
class StageEnded(StageEvent):
    """Nothing more comes from this stage: it is built, has failed, or was given up."""


@dataclass(frozen=True, slots=True)
class Warned:
    """Something that does not stop the build."""

    text: str


@dataclass(frozen=True, slots=True)
class ImageBuilt:
    """All steps are done; ``image`` is the ID."""

    image: str


@dataclass(frozen=True, slots=True)
class ImageTagged:
    """The image has got a name, in docker's short form."""

    name: str


Event = BuildStarted | StageEvent | Warned | ImageBuilt | ImageTagged

Progress = Callable[[Event], None]
"""Gets a build's events, from several threads. It must be quick, and what it raises ends the build."""


class BuildDisplay(Protocol):
    """Shows builds: opened for each one, and what it gives gets the events of that build."""

    def building(self, name: str) -> AbstractContextManager[Progress]:
        """A build; ``name`` says what of."""


class NoBuildDisplay:
    """The display of whoever has not asked for one."""

    def building(self, name: str) -> AbstractContextManager[Progress]:  # noqa: ARG002
        return nullcontext(silent)


def silent(event: Event) -> None:
    """For progress that nobody asked for."""


def to_all(*listeners: Progress) -> Progress:
    """Progress that several get."""

    def tell(event: Event) -> None:
        for listener in listeners:
            listener(event)

    return tell


@dataclass(frozen=True, slots=True)
class StageNews:
    """The news of one stage, or of its base's triggers: who carries out steps needs no more than this."""

    tell: Progress
    stage: int
    in_trigger: bool = False

    def begun(self, number: int, total: int, text: str) -> None:
        """A step begins."""
        self.tell(StepStarted(self.stage, number, total, text))

    def failed(self) -> None:
        """It can't be done."""
        self.tell(StepFailed(self.stage))

    def cached(self) -> None:
        """The step comes from the cache."""
        self.tell(CacheUsed(self.stage))

    def running(self, container: str) -> None:
        """A command begins."""
        self.tell(ContainerStarted(self.stage, container))

    def line(self, text: str) -> None:
        """It has printed a line."""
        self.tell(OutputLine(self.stage, text))

    def removed(self, container: str) -> None:
        """It has ended well."""
        self.tell(ContainerRemoved(self.stage, container))

    def done(self, image: str) -> None:
        """The step, or the trigger, has made ``image``."""
        self.tell(StepEnded(self.stage, image, self.in_trigger))
