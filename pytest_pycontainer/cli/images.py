"""Images that are here: ``images``, ``history``, ``tag``, ``rmi``, ``image inspect``, ``image prune``."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from pytest_pycontainer.cli.command import Command
from pytest_pycontainer.cli.flags import Flag, Given, UsageError
from pytest_pycontainer.cli.format import FORMAT, lines_of
from pytest_pycontainer.cli.inspecting import inspect_each
from pytest_pycontainer.cli.units import ago, local_time, size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_pycontainer.cli.session import Session
    from pytest_pycontainer.engine.image import Image

_NONE = "<none>"
_SHORTENED = 45

_IMAGE_HEADINGS = {
    "ID": "IMAGE ID",
    "Repository": "REPOSITORY",
    "Tag": "TAG",
    "Digest": "DIGEST",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "Size": "SIZE",
}
_HISTORY_HEADINGS = {
    "ID": "IMAGE",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "CreatedBy": "CREATED BY",
    "Size": "SIZE",
    "Comment": "COMMENT",
}


def _list(session: Session, given: Given) -> int:
    wanted = given.arguments[0] if given.arguments else None
    filters = [_filter(text) for text in given.texts("filter")]
    images = [
        image
        for image in session.engine.images(all=given.switch("all"))
        if (wanted is None or _is_named(image, wanted)) and all(lets_through(image) for lets_through in filters)
    ]
    if given.switch("quiet"):
        for image_id in dict.fromkeys(image.id if given.switch("no-trunc") else image.short_id for image in images):
            session.print(image_id)
        return 0
    rows = [_image_row(image, whole=given.switch("no-trunc")) for image in images]
    digests = ("Digest",) if given.switch("digests") else ()
    columns = ("Repository", "Tag", *digests, "ID", "CreatedSince", "Size")
    for line in lines_of(rows, given.text("format"), columns, _IMAGE_HEADINGS):
        session.print(line)
    return 0


def _is_named(image: Image, wanted: str) -> bool:
    from fnmatch import fnmatchcase

    repository, tag = _name(image)
    return fnmatchcase(repository if ":" not in wanted.rpartition("/")[2] else f"{repository}:{tag}", wanted)


def _filter(text: str) -> Callable[[Image], bool]:
    """Which images a ``--filter`` lets through. Raises UsageError."""
    name, _, value = text.partition("=")
    if name == "dangling":
        return lambda image: bool(image.tags) != (value in ("true", "1"))
    if name == "label":
        label, equals, wanted = value.partition("=")
        return lambda image: label in image.config.labels and (not equals or image.config.labels[label] == wanted)
    if name == "reference":
        return lambda image: _is_named(image, value)
    raise UsageError(f"invalid filter '{name}': known are dangling, label, reference", 1)


def _name(image: Image) -> tuple[str, str]:
    """The image's repository and tag as it was listed."""
    if image.name == image.id:
        return _NONE, _NONE
    if "@" in image.name:
        return image.name.partition("@")[0], _NONE
    repository, _, tag = image.name.rpartition(":")
    return repository, tag


def _image_row(image: Image, *, whole: bool) -> dict[str, str]:
    repository, tag = _name(image)
    digest = next((name.partition("@")[2] for name in image.digests if name.startswith(f"{repository}@")), _NONE)
    return {
        "ID": image.id if whole else image.short_id,
        "Repository": repository,
        "Tag": tag,
        "Digest": digest,
        "CreatedSince": _since(image.config.created),
        "CreatedAt": _at(image.config.created),
        "Size": size(image.size),
    }


def _moment(created: str | None) -> datetime | None:
    try:
        return None if created is None else datetime.fromisoformat(created)
    except ValueError:
        return None


def _since(created: str | None) -> str:
    moment = _moment(created)
    return "N/A" if moment is None else ago(moment)


def _at(created: str | None) -> str:
    moment = _moment(created)
    return "N/A" if moment is None else local_time(moment)


def _history(session: Session, given: Given) -> int:
    image = session.engine.image(given.arguments[0])
    whole = given.switch("no-trunc")
    rows = list(_history_rows(image, whole=whole, plain=not given.switch("human", default=True)))
    if given.switch("quiet"):
        for row in rows:
            session.print(row["ID"])
        return 0
    columns = ("ID", "CreatedSince", "CreatedBy", "Size", "Comment")
    for line in lines_of(rows, given.text("format"), columns, _HISTORY_HEADINGS):
        session.print(line)
    return 0


def _history_rows(image: Image, *, whole: bool, plain: bool) -> Iterator[dict[str, str]]:
    sizes = iter(reversed(image.layer_sizes))
    for number, step in enumerate(reversed(image.config.history)):
        taken = 0 if step.empty_layer else next(sizes, 0)
        yield {
            "ID": (image.id if whole else image.short_id) if number == 0 else "<missing>",
            "CreatedSince": _at(step.created) if plain else _since(step.created),
            "CreatedAt": _at(step.created),
            "CreatedBy": _created_by(step.created_by or "", whole=whole),
            "Size": str(taken) if plain else size(taken),
            "Comment": step.comment or "",
        }


def _created_by(text: str, *, whole: bool) -> str:
    text = text.replace("\t", " ")
    return text if whole or len(text) <= _SHORTENED else f"{text[: _SHORTENED - 1]}…"


def _tag(session: Session, given: Given) -> int:
    session.engine.tag(*given.arguments)
    return 0


def _remove(session: Session, given: Given) -> int:
    def remove(reference: str) -> None:
        removed = session.engine.remove(reference, force=given.switch("force"))
        for name in removed.untagged:
            session.print(f"Untagged: {name}")
        for image_id in removed.deleted:
            session.print(f"Deleted: {image_id}")

    return session.for_each(given.arguments, remove)


def _inspect(session: Session, given: Given) -> int:
    return inspect_each(session, given, lambda reference: session.engine.image(reference).inspect())


def _prune(session: Session, given: Given) -> int:
    every = given.switch("all")
    which = "all images without at least one container associated to them" if every else "all dangling images"
    if not given.switch("force") and not session.confirm(f"This will remove {which}."):
        return 0
    pruned = session.engine.prune(all=every)
    if pruned.untagged or pruned.deleted:
        session.print("Deleted Images:")
        for name in pruned.untagged:
            session.print(f"untagged: {name}")
        for image_id in pruned.deleted:
            session.print(f"deleted: {image_id}")
        session.print("")
    session.print(f"Total reclaimed space: {size(pruned.reclaimed_bytes)}")
    return 0


_FORCE = Flag("force", "Do not ask", "f")
_NO_TRUNC = Flag("no-trunc", "Don't shorten what is long")
_QUIET = Flag("quiet", "Print IDs alone", "q")
_FILTER = Flag("filter", "Show those alone: dangling=true, label=KEY[=VALUE], reference=PATTERN", "f", "filter", True)

COMMANDS = {
    "images": Command(
        "[OPTIONS] [REPOSITORY[:TAG]]",
        _list,
        (
            Flag("all", "Show the steps of builds too", "a"),
            Flag("digests", "Show digests"),
            _FILTER,
            FORMAT,
            _NO_TRUNC,
            _QUIET,
        ),
        most=1,
    ),
    "history": Command(
        "[OPTIONS] IMAGE",
        _history,
        (FORMAT, Flag("human", "Print sizes and times for people to read", "H", default="true"), _NO_TRUNC, _QUIET),
        least=1,
        most=1,
    ),
    "tag": Command("SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]", _tag, least=2, most=2),
    "rmi": Command(
        "[OPTIONS] IMAGE [IMAGE...]",
        _remove,
        (Flag("force", "Remove names of images that containers use, and several at once", "f"),),
        least=1,
        most=None,
    ),
    "inspect": Command("[OPTIONS] IMAGE [IMAGE...]", _inspect, (FORMAT._replace(short="f"),), least=1, most=None),
    "prune": Command("[OPTIONS]", _prune, (Flag("all", "Remove all that no container uses", "a"), _FORCE)),
}
