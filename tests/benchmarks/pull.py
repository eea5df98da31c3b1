"""A cold pull beside ``docker pull`` and ``skopeo copy``: python tests/benchmarks/pull.py IMAGE [DIRECTORY]

IMAGE is one that a registry on loopback has, DIRECTORY where our stores and skopeo's copies go, which should lie on the
file system that Docker keeps its images on. All sides take turns over the same registry. Docker's copy is removed
before each of its pulls, and it has to pull every layer, so no other image of it may share one. Prints the medians and
the median of the ratios (the goal is 0.4 at most), our memory (100 MB at most), and what a pull of what is already here
asks of the registry: one HEAD, or nothing where the reference has a digest.

Each side begins when all that the others wrote is on disk: a pull of ours ends when its layers are, and would wait for
theirs too; Docker does not wait. Our stores are removed at the very end: on ext4 without a journal, new files take tens
of times as long while others have just been deleted. The figures mean something on a machine that does nothing else.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 7
IMAGE = "127.0.0.1:5000/big:1"
# Every pull is a process of its own: caches and peaks of memory are its own too. It prints seconds and bytes.
OURS = """
import sys, time
from pathlib import Path
from pytest_pycontainer.registry.pull import pull
from pytest_pycontainer.registry.registries import Registries
from pytest_pycontainer.registry.transport import HttpTransport
from pytest_pycontainer.store.store import Store

asked = []
send = HttpTransport.send
HttpTransport.send = lambda transport, request: asked.append(request.method) or send(transport, request)
begin = time.perf_counter()
with Registries() as registries:
    pull(Store(Path(sys.argv[1])), registries, sys.argv[2])
seconds = time.perf_counter() - begin
peak = next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line[:5] == "VmHWM")
print(seconds, int(peak) / 1024, " ".join(asked) or "nothing")
"""


def ours(store: Path, image: str) -> tuple[float, float, str]:
    """Seconds in ``pull``, megabytes that the whole process took at most, and the requests."""
    os.sync()
    output = run(sys.executable, "-c", OURS, str(store), image)
    seconds, peak, asked = output.split(maxsplit=2)
    return float(seconds), float(peak), asked.strip()


def docker(image: str) -> float:
    subprocess.run(["docker", "rmi", "-f", image], capture_output=True, check=False)
    os.sync()
    begin = time.perf_counter()
    output = run("docker", "pull", image)
    seconds = time.perf_counter() - begin
    if "Already exists" in output:
        sys.exit(f"another image of docker's shares a layer with {image}: remove it, or docker pulls less than we do")
    return seconds


def skopeo(directory: Path, image: str) -> float:
    os.sync()
    begin = time.perf_counter()
    run("skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{image}", f"dir:{directory}")
    return time.perf_counter() - begin


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command[:2])} failed: {done.stderr.strip()[-500:]}")
    return done.stdout


def digest_of(image: str) -> str:
    return run("docker", "image", "inspect", "-f", "{{index .RepoDigests 0}}", image).strip()


def main() -> None:
    image = sys.argv[1] if len(sys.argv) > 1 else IMAGE
    os.environ.setdefault("DOCKER_API_VERSION", "1.41")  # what Debian 12's daemon speaks, whatever the client
    if not shutil.which("docker") or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        sys.exit("this compares with docker: no docker command, or no daemon that answers, is here")
    has_skopeo = shutil.which("skopeo") is not None
    rounds = []
    with tempfile.TemporaryDirectory(dir=sys.argv[2] if len(sys.argv) > 2 else "/var/tmp") as directory:
        here = Path(directory)
        for number in range(ROUNDS):
            peer = docker(image)
            copied = skopeo(here / f"skopeo-{number}", image) if has_skopeo else 0.0
            rounds.append((peer, copied, *ours(here / f"store-{number}", image)[:2]))
        again = [ours(here / "store-0", image) for _ in range(ROUNDS)]
        by_digest = digest_of(image)
        ours(here / "store-0", by_digest)
        digest_again = [ours(here / "store-0", by_digest) for _ in range(ROUNDS)]
    peer, copied, seconds, _ = (statistics.median(column) for column in zip(*rounds, strict=True))
    ratios = [own / theirs for theirs, _, own, _ in rounds]
    print(f"docker pull          {peer:6.2f} s")
    print(f"skopeo copy to dir:  {copied:6.2f} s (as compressed as it comes)" if has_skopeo else "skopeo: not here")
    print(f"pull                 {seconds:6.2f} s, at most {max(peak for *_, peak in rounds):.0f} MB of memory")
    print(f"ratio to docker      {statistics.median(ratios):6.2f} (from {min(ratios):.2f} to {max(ratios):.2f})")
    for what, samples in (("already here, by tag", again), ("already here, digest", digest_again)):
        print(f"{what} {statistics.median(s for s, *_ in samples):6.3f} s, asks for {samples[0][2]}")


if __name__ == "__main__":
    main()
