"""A minimal Debian, thousands of files of every kind: pushed, pulled elsewhere, and the same there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_pycontainer import Engine, Image, Settings

if TYPE_CHECKING:
    from tests.registry.conftest import Registry

DOCKERFILE = """
FROM host AS maker
RUN apt-get update && apt-get install -y --no-install-recommends mmdebstrap
RUN mmdebstrap --quiet --variant=minbase bookworm /debian
FROM scratch
COPY --from=maker /debian /
RUN rm -r /usr/share/doc && mkdir /usr/share/doc && ln /bin/ls /bin/second-name && mkfifo /run/fifo
RUN chmod 6711 /bin/cat && mknod /run/null c 1 3 && ln -s /nowhere /dangling && touch -d @86400 /old
CMD ["cat", "/etc/debian_version"]
"""
LIST = r"find / -xdev ! -path '/proc*' ! -path '/sys*' ! -path '/dev*' ! -path '/etc/host*' ! -path /etc/resolv.conf"
LIST += " ! -path /etc/mtab ! -path /.dockerenv"  # each container's own, made at its start
EVERYTHING = rf"""
{LIST} -printf '%p %y %m %U:%G %n %s %l %Ts\n' | sort
{LIST} -type f -print0 | sort -z | xargs -0 sha256sum
dpkg --audit; apt-cache policy dash
"""


@pytest.fixture(scope="session")
def debian(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Image:
    context = tmp_path_factory.mktemp("debian")
    (context / "Dockerfile").write_text(DOCKERFILE)
    return engine.build(context, tag="debian-of-the-suite")


def everything(engine: Engine, image: Image) -> list[str]:
    with engine.run(image, ["sh", "-c", EVERYTHING], hostname="same", network="none") as container:
        assert container.wait(timeout=120) == 0, container.logs()
        return [line for line in container.logs().splitlines() if not line.startswith(("/ d ", "/etc d "))]


def test_a_debian_is_the_same_elsewhere(
    here: Engine, engine: Engine, debian: Image, registry: Registry, name: str, tmp_path: Path
) -> None:
    here.push(debian, name)
    with Engine(Settings(root=tmp_path / "store", state=engine.settings.state)) as other:
        pulled = other.pull(name)
        assert pulled.id == debian.id
        found = everything(other, pulled)
        assert len(found) > 5000
        assert found == everything(here, debian)
