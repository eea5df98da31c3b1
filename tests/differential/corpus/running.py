"""RUN, WORKDIR, USER, SHELL, VOLUME: what commands see and leave."""

from tests.differential.case import Case, File

_VOLUME = "what the last RUN wrote below a VOLUME is kept by BuildKit, and dropped by the legacy builder"

_GROUPS = "newer ones put the primary group among the supplementary ones (CVE-2022-36109), as we do"
_POINTS = "newer ones remove the mount points that they made, as we do"

RUNNING = (
    Case(
        "run-shell",
        "FROM BASE\nRUN echo $0 $PATH > /a && umask > /b && pwd > /c && id > /d\n",
        differs={"buildkit": _GROUPS},
    ),
    Case("run-exec", 'FROM BASE\nRUN ["/bin/sh", "-c", "echo \\"quoted\\" $HOME > /a"]\n'),
    Case("run-json-that-is-none", "FROM BASE\nRUN [ \"x\" = 'x' ] && echo yes > /a\n"),
    Case("run-continued", "FROM BASE\nRUN echo a \\\n  # a comment\n\n  b \\   \n  c > /a\n"),
    Case("run-escape-directive", "# escape=`\nFROM BASE\nRUN echo a\\b `\n  c > /a\n"),
    Case("run-removes", "FROM BASE\nRUN rm -r /srv/data /srv/link && mkdir /srv/data && touch /srv/data/new\n"),
    Case("run-opaque-folder", "FROM BASE\nRUN rm -r /srv && mkdir -p /srv/data && echo n > /srv/data/n\n"),
    Case("run-rename-folder", "FROM BASE\nRUN mv /srv/data /srv/moved && mv /home/app /srv/\n"),
    Case("run-types", "FROM BASE\nRUN mkfifo -m 640 /p && mknod /d c 1 3 && ln /etc/passwd /hard && ln -s x /soft\n"),
    Case("run-modes", "FROM BASE\nRUN chmod 2750 /srv && chown app:staff /srv/data/old && chmod u+s /srv/data/old\n"),
    Case(
        "run-environment",
        "FROM BASE\nENV A=1 HOME=/x\nARG B=2\nARG C\nRUN env | grep -v HOSTNAME | sort > /a\n",
        build_args={"C": "3"},
    ),
    Case(
        "run-proxy",
        "FROM BASE\nRUN env | grep -i proxy | sort > /a; true\n",
        build_args={"HTTP_PROXY": "p:1", "no_proxy": "n"},
        differs={"legacy": "it hands proxies on by the names given alone"},
    ),
    Case(
        "run-user",
        "FROM BASE\nUSER app\nRUN id > /tmp/a && echo $HOME > /tmp/b && touch /home/app/c\n",
        differs={"buildkit": _GROUPS},
    ),
    Case(
        "run-user-group",
        "FROM BASE\nUSER app:staff\nRUN id > /tmp/a\nUSER 1000:0\nRUN id > /tmp/b\nUSER 4321\nRUN id > /tmp/c\n",
        differs={"buildkit": _GROUPS},
    ),
    Case(
        "run-shell-instruction", 'FROM BASE\nSHELL ["/bin/sh", "-exc"]\nRUN echo $- > /a\nCMD echo hi\nENTRYPOINT ls\n'
    ),
    Case(
        "run-shell-program",
        'FROM BASE\nCOPY s /s\nSHELL ["/s", "first"]\nRUN echo $x\n',
        {"s": File('#!/bin/sh\nprintf "[%s]" "$@" >/out\n', 0o755)},
    ),
    Case("run-standard-input", "FROM BASE\nRUN cat > /a; tty > /b; test -t 1; echo $? > /c\n"),
    Case("run-temporary-files", "FROM BASE\nRUN touch /tmp/a && mkdir -p /run/x && touch /run/x/y /dev/shm/z\n"),
    Case(
        "run-writes-mounted-files",
        "FROM BASE\nRUN cat /etc/hosts > /dev/null && echo more >> /etc/hosts\n",
        fails=True,
        differs={"legacy": "there it is not mounted read-only"},
    ),
    Case(
        "run-many-layers",
        "FROM BASE\n" + "".join(f"RUN echo {i} > /f{i % 7} && rm -f /f{(i + 3) % 7}\n" for i in range(12)),
    ),
    Case("workdir-creates", "FROM BASE\nWORKDIR /a/b\nWORKDIR c\nRUN pwd > p\nWORKDIR ../d\nRUN pwd > p\n"),
    Case("workdir-exists", "FROM BASE\nWORKDIR /srv/data\nRUN pwd > p\nWORKDIR /srv/link\nRUN pwd > q\n"),
    Case("workdir-variable", "FROM BASE\nENV D=/x\nARG e=y\nWORKDIR $D/${e}\nRUN pwd > p\n"),
    Case(
        "workdir-user",
        "FROM BASE\nUSER app\nWORKDIR /new/deep\nWORKDIR /home/app/sub\n",
        differs={"legacy": "it gives a new WORKDIR to root"},
    ),
    Case("workdir-last-slash", "FROM BASE\nWORKDIR /a/b/\nWORKDIR c//d/./\n"),
    Case("volume-existing", "FROM BASE\nVOLUME /srv/data\nRUN ls /srv/data > /a\nCOPY f /srv/data/\n", {"f": "f\n"}),
    Case("volume-run", "FROM BASE\nVOLUME /v\nRUN mkdir -p /v && touch /v/lost\n", differs={"legacy": _VOLUME}),
    Case("volume-forms", 'FROM BASE\nVOLUME /a /b\nVOLUME ["/c", "/d e"]\nENV X=/x\nVOLUME $X\n'),
    Case(
        "run-mount-bind",
        "FROM BASE\nRUN --mount=type=bind,target=/m cp /m/a /b && ls /m | grep -v Dock > /l\n",
        {"a": "a\n"},
        builders=["buildkit"],
        differs={"buildkit": _POINTS},
    ),
    Case(
        "run-mount-bind-stage",
        "FROM BASE AS s\nRUN echo s > /s\nFROM BASE\nRUN --mount=from=s,source=/s,target=/m/s cp /m/s /t\n",
        builders=["buildkit"],
        differs={"buildkit": _POINTS},
    ),
    Case(
        "run-mount-bind-written",
        "FROM BASE\nRUN --mount=target=/m,rw echo x > /m/a && cat /m/a > /b\nCOPY a /c\n",
        {"a": "a\n"},
        builders=["buildkit"],
        differs={"buildkit": _POINTS},
    ),
    Case(
        "run-mount-tmpfs",
        "FROM BASE\nRUN --mount=type=tmpfs,target=/srv/data ls -A /srv/data > /a; touch /srv/data/x\n",
        builders=["buildkit"],
    ),
    Case(
        "run-mount-cache",
        "FROM BASE\n"
        "RUN --mount=type=cache,target=/c,id=k-$RANDOM,uid=5,gid=6,mode=0700"
        " stat -c '%u %g %a' /c > /a; touch /c/x\n"
        "RUN test ! -e /c/x\n",
        builders=["buildkit"],
        differs={"buildkit": _POINTS},
    ),
    Case(
        "run-mount-secret-not-given",
        "FROM BASE\nRUN --mount=type=secret,id=none ls /run/secrets > /a 2>&1; true\n",
        builders=["buildkit"],
    ),
    Case(
        "run-mount-point-stays",
        "FROM BASE\nRUN --mount=type=tmpfs,target=/new/point true\n",
        builders=["buildkit"],
        differs={"buildkit": _POINTS},
    ),
)
