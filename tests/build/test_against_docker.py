"""Docker's own parser, in the PyPI package ``dockerfile``, as the oracle of ours.

Where we differ on purpose:

- Docker's parser leaves to the builder what ours refuses at once, at its place: STRICTER.
- ``["`` that is no JSON is text for the shell there, with a warning; here it is an error. The package's BuildKit reads
  an array and leaves what follows it unread; a newer one, as we do, takes none of it for JSON.
- White space may stand between ``<<`` and the name of a here-document, and ``<<`` in ``$((…))`` is a shift: as in
  newer BuildKits than the one in the package, and in shells. An apostrophe behind it, in a comment, does not hide it.
- ``# check=`` is a directive, as in newer BuildKits.
- Continuations that continue nothing are nothing, and no instruction without a name.
- Flags in other characters than ASCII's stay as they are.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, given, reject, settings
from hypothesis import strategies as st

from pytest_pycontainer.build import instructions as kinds
from pytest_pycontainer.build.dockerfile import parse
from pytest_pycontainer.build.words import skip_flags, split_spaces
from pytest_pycontainer.errors import DockerfileError

if TYPE_CHECKING:
    from collections.abc import Sequence

docker = pytest.importorskip("dockerfile", reason="no dockerfile package here")

CORPUS = sorted((Path(__file__).parent / "corpus").iterdir())
STRICTER = re.compile(
    r"unknown instruction|has no flag|needs a value|was given before|is true or false"
    r"|expected something after|expected a command|expected at least one|expected AS|expected nothing after"
    r"|expected a stage's name|cannot name a stage|cannot name a build argument|expected a name before ="
    r"|expected one word|SHELL has no other form|expected CMD or NONE|cannot be an ONBUILD trigger"
    r"|expected name=value\n|cannot be the destination"
    r"|JSON array of strings in double quotes|does not know RUN --device"
)

# An instruction, so that both sides can be compared: its name, its flags, its arguments, and its first and last line.
Read = tuple[str, dict[str, list[str]], "Sequence[object]", tuple[int, int]]


def ours(text: str) -> list[Read]:
    return [_our(instruction) for instruction in parse(text, "Dockerfile")]


def _our(instruction: kinds.Instruction) -> Read:
    line = instruction.line
    last = line.heredocs[-1].body if line.heredocs else line
    name = type(instruction).__name__.upper()
    return name, _our_flags(instruction), _our_arguments(instruction), (line.pieces[0].number, last.pieces[-1].number)


def _our_flags(instruction: kinds.Instruction) -> dict[str, list[str]]:
    flags: dict[str, Sequence[kinds.Word] | kinds.Word | bool | None]
    match instruction:
        case kinds.From():
            flags = {"platform": instruction.platform}
        case kinds.Run():
            flags = {
                "mount": instruction.mounts,
                "network": instruction.network,
                "security": instruction.security,
            }
        case kinds.Copy() | kinds.Add():
            flags = {
                "chown": instruction.owner,
                "chmod": instruction.mode,
                "exclude": instruction.excludes,
                "link": instruction.link,
            }
            if isinstance(instruction, kinds.Copy):
                flags |= {"from": instruction.source_stage, "parents": instruction.parents}
            else:
                flags |= {
                    "checksum": instruction.checksum,
                    "keep-git-dir": instruction.keep_git_dir,
                    "unpack": instruction.unpack,
                }
        case kinds.Healthcheck():
            flags = {
                "interval": instruction.interval,
                "timeout": instruction.timeout,
                "start-period": instruction.start_period,
                "start-interval": instruction.start_interval,
                "retries": instruction.retries,
            }
        case _:
            flags = {}
    return {name: values for name, flag in flags.items() if (values := _flag_values(flag))}


def _flag_values(flag: Sequence[kinds.Word] | kinds.Word | bool | None) -> list[str]:
    if isinstance(flag, bool) or flag is None:
        return ["true"] if flag else []
    return [word.text for word in ([flag] if isinstance(flag, kinds.Word) else flag)]


def _our_arguments(instruction: kinds.Instruction) -> Sequence[object]:
    match instruction:
        case kinds.From(image=image, name=name):
            return [image.text] if name is None else [image.text, "as", name]
        case kinds.Healthcheck(command=None):
            return ["none"]
        case kinds.Healthcheck(command=str(command)):
            return ["cmd", command]
        case kinds.Healthcheck(command=tuple(command)):
            return ["cmd", *command]
        case kinds.Run() | kinds.Cmd() | kinds.Entrypoint() | kinds.Shell():
            command = instruction.command
            return [command] if isinstance(command, str) else list(command)
        case kinds.Copy() | kinds.Add():
            words = [*instruction.sources, instruction.destination]
            return [word.text if isinstance(word, kinds.Word) else (word.name, word.content) for word in words]
        case kinds.Env(values=pairs) | kinds.Label(values=pairs):
            return [word.text for pair in pairs for word in pair]
        case kinds.Arg(defaults=defaults):
            return [name.text if value is None else f"{name.text}={value.text}" for name, value in defaults]
        case kinds.Expose(ports=words) | kinds.Volume(paths=words):
            return [word.text for word in words]
        case kinds.User(user=word) | kinds.Workdir(path=word) | kinds.StopSignal(signal=word):
            return [word.text]
        case kinds.Maintainer(author=word):
            return [word.text]
        case kinds.OnBuild(trigger=trigger):
            (triggered,) = parse(trigger.text, "trigger")
            # Docker's package shows no here-documents of a trigger; that they are in its text is tested elsewhere.
            if triggered.line.heredocs:
                name = type(triggered).__name__.upper()
                start = skip_flags(triggered.line.text, len(name))
                cut = [word.text for word in split_spaces(triggered.line, start)]
                return [name, triggered.line.text[start:]] if name == "RUN" else [name, *cut]
            return [type(triggered).__name__.upper(), *_our_arguments(triggered)]
    raise AssertionError(instruction)


def theirs(text: str) -> list[Read]:
    lines = text.split("\n")
    return [_their(command, lines) for command in docker.parse_string(text) if command.cmd]


def _their(command: Any, lines: Sequence[str]) -> Read:
    name = command.cmd.upper()
    flags: dict[str, list[str]] = {}
    for flag in command.flags:
        key, equals, value = flag.removeprefix("--").partition("=")
        if value.lower() != "false" and (value or not equals):
            flags.setdefault(key, []).append(value.lower() if value.lower() == "true" else value or "true")
    end = command.end_line
    while end > command.start_line and re.fullmatch(r"\s*(#.*)?", lines[end - 1]):
        end -= 1  # they count what was looked through for a continuation that never came
    return name, flags, _their_arguments(name, command), (command.start_line, end)


def _their_arguments(name: str, command: Any) -> Sequence[object]:
    values = list(command.value) or [""] * (not command.json)
    documents = {document.name: document for document in command.heredocs}
    if name == "ONBUILD":
        triggered = (command.sub_cmd or "").upper()
        return [triggered, *_their_arguments(triggered, command)]
    if name == "FROM" and len(values) == 3:
        return [values[0], values[1].lower(), values[2].lower()]
    if name == "HEALTHCHECK":
        return [values[0].lower(), *values[1:]]
    if name in ("COPY", "ADD") and not command.json:
        return [_their_source(value, documents) for value in values]
    if name == "RUN" and documents:
        if re.fullmatch(r"\d*<<-?\S+", values[0]):
            document = command.heredocs[0]
            content = _stripped(document.content, values[0])
            return [f"/dev/pipes/{document.name}"] if content.startswith("#!") else [content]
        stripped = ["<<-" in values[0] for _ in command.heredocs]
        texts = [
            f"{_stripped(document.content, '<<-' if strips else '')}{document.name}"
            for document, strips in zip(command.heredocs, stripped, strict=True)
        ]
        return ["\n".join([values[0], *texts])]
    return values


def _their_source(value: str, documents: dict[str, Any]) -> object:
    name = re.sub(r"^\d*<<-?|['\"]", "", value)
    if "<<" not in value or name not in documents:
        return value
    return name, _stripped(documents[name].content, value)


def _stripped(content: str, marker: str) -> str:
    return re.sub(r"(?m)^\t+", "", content) if "<<-" in marker else content


@pytest.mark.parametrize("file", CORPUS, ids=lambda file: file.stem)
def test_files_in_the_styles_of_well_known_images_are_read_alike(file: Path) -> None:
    text = file.read_bytes().decode()
    known = theirs(text) if file.stem != "directives" else None
    for our, their in zip(ours(text), known or ours(text), strict=True):
        assert our == their


_NAMES = ["FROM", "RUN", "COPY", "ADD", "ENV", "LABEL", "ARG", "CMD", "ENTRYPOINT", "EXPOSE", "VOLUME", "USER"]
_NAMES += ["WORKDIR", "STOPSIGNAL", "SHELL", "HEALTHCHECK"]
_instruction = st.sampled_from([*_NAMES, *map(str.title, _NAMES), *(f"ONBUILD {name}" for name in _NAMES[1:])])
_NO_FLAGS = ["", "", "", "-- ", "-x ", "--x"]
_FLAGS = ["--from=a ", '--chown="a b" ', "--link ", "--link=FALSE ", "--mount=type=x,y=z ", "--mount='a' "]
_FLAGS += ["--platform=$x ", "--exclude=*.md --exclude=a\\ b ", "--interval=1s ", "  --retries=2\t"]
_flag = st.sampled_from(_NO_FLAGS + _FLAGS)
_SPACES = [" ", " ", " ", "\t", "\v", "\f", "\u00a0", "\\\n", "\\ \n", "\\\n# c\n", "\\\n\n"]
_PIECES = [
    "a",
    "b",
    "x=1",
    "=",
    '"',
    "'",
    "\\",
    "$x",
    "${y:-z w}",
    "[",
    "]",
    ",",
    '"a"',
    '["a"]',
    '["a", "b"]',
    "< ",
]
_PIECES += ["#", "\\\\", "CMD", "NONE", "as", "é", "1:2"]
_piece = st.sampled_from(_PIECES + _SPACES)
_simple = st.builds("{} {}{}".format, _instruction, _flag, st.lists(_piece, max_size=8).map("".join))
_document = st.builds(
    "{0} {1}{2}<<{3}{4}E{4}{5}\n{6}E".format,
    st.sampled_from(["RUN", "COPY", "ADD", "ONBUILD RUN", "ONBUILD add"]),
    _flag,
    st.sampled_from(["", "a ", "1", "a b\t", "\\\n"]),
    st.sampled_from(["", "-"]),
    st.sampled_from(["", "'", '"']),
    st.sampled_from(["", " b", " > /c", " && d"]),
    st.lists(st.sampled_from(["\n", "a\n", "\tb\n", "# c\n", "e\\\n", " E\n", "#!/x\n", "$x\r\n"]), max_size=4).map(
        "".join
    ),
)
_between = st.sampled_from(["\n", "\n\n", "\n# comment\n", "\r\n", "\n \t", "\n\t# comment\\\n"])
_top = st.sampled_from(["", "# escape=`\n", "# syntax=a\n#escape=\\\n", "# a\n# escape=`\n", "\ufeff", "\n", "#\n"])


@st.composite
def _dockerfiles(draw: st.DrawFn) -> str:
    text = draw(_top)
    for part in draw(st.lists(_simple | _document, min_size=1, max_size=4)):
        text += part + draw(_between)
    return text


def _is_known(text: str) -> bool:
    """Whether what we differ in may be in it, or an escape at the end of a trigger, which continues it once more."""
    known = [
        r"--\S*[^\x00-\x7f]",
        r"\[\s*\]\s*\S",
        r"\\[^\S\n]*[\v\f\xa0]\s*$",
        r"(?i:onbuild).*\\\s*$",
    ]
    return any(re.search(pattern, text, re.MULTILINE) for pattern in known)


@given(_dockerfiles())
@settings(max_examples=500, deadline=None)
def test_made_up_files_are_read_alike(text: str) -> None:
    assume(not _is_known(text))
    try:
        known = theirs(text)
    except UnicodeDecodeError:
        reject()  # they cut a character in two
    except docker.GoParseError:
        with pytest.raises(DockerfileError):
            ours(text)
        return
    problem = ""
    read = None
    try:
        read = ours(text)
    except DockerfileError as refused:
        problem = str(refused)
    assert read == known or STRICTER.search(problem), problem
