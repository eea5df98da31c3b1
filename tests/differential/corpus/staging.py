"""Stages, scratch, and images with triggers."""

from tests.differential.case import Case, Directory, File, Link

_TWO = "FROM BASE AS one\nRUN mkdir /o && echo 1 > /o/1 && ln -s 1 /o/l && chown -R app:staff /o && chmod 700 /o\n"

_SCRATCH = "BuildKit sets a working directory on scratch, as we do"

STAGING = (
    Case("stage-copy-file", _TWO + "FROM BASE\nCOPY --from=one /o/1 /srv/\n"),
    Case("stage-copy-folder", _TWO + "FROM BASE\nCOPY --from=one /o /p\n"),
    Case("stage-copy-keeps-owner", _TWO + "FROM BASE\nCOPY --from=one --chown=7:8 /o /p\nCOPY --from=one o/1 /q/\n"),
    Case("stage-copy-link", _TWO + "FROM BASE\nCOPY --from=one /o/l /p\nCOPY --from=one /srv/link /q\n"),
    Case(
        "stage-copy-through-link",
        _TWO + "FROM BASE\nCOPY --from=one /srv/link/old /p\nCOPY --from=one /srv/absolute/old /q\n",
    ),
    Case("stage-copy-wildcard", _TWO + "FROM BASE\nCOPY --from=one /o/* /p/\n"),
    Case("stage-copy-by-number", _TWO + "FROM BASE\nCOPY --from=0 /o /p\n"),
    Case("stage-copy-image", "FROM BASE\nCOPY --from=BASE /etc/passwd /p\n"),
    Case("stage-copy-root", _TWO + "FROM scratch\nCOPY --from=one /o /\n", differs={"legacy": _SCRATCH}),
    Case(
        "stage-copy-devices",
        "FROM BASE AS a\nRUN mkdir /d && mkfifo /d/p && mknod /d/n c 1 3\nFROM BASE\nCOPY --from=a /d /e\n",
        differs={"buildkit": "it left pipes out, and made devices files"},
    ),
    Case(
        "stage-copy-modes",
        "FROM BASE AS a\nRUN mkdir /d && cp /etc/passwd /d/x && chown app /d/x && chmod 4750 /d/x\nFROM BASE\n"
        "COPY --from=a /d /e\nCOPY --from=a /bin/busybox /b\n",
    ),
    Case(
        "stage-copy-hard-links",
        "FROM BASE AS a\nRUN mkdir /d && echo 1 > /d/a && ln /d/a /d/b\nFROM BASE\nCOPY --from=a /d /e\n",
    ),
    Case("stage-target", _TWO + "FROM one AS two\nRUN touch /two\nFROM BASE\nRUN false\n", target="two"),
    Case("stage-target-case", _TWO + "FROM one AS Two\nENV a=b\nFROM BASE\nRUN false\n", target="two"),
    Case("stage-unused", "FROM BASE AS unused\nRUN false\nFROM BASE\nRUN touch /a\n", builders=["buildkit"]),
    Case(
        "stage-chain",
        "FROM BASE AS a\nENV a=1\nWORKDIR /w\nUSER app\nFROM a AS b\nENV b=2\n"
        "FROM b\nENV c=$a$b\nRUN id -u > /tmp/i; pwd > /tmp/p\n",
    ),
    Case(
        "stage-name-shadows",
        "FROM BASE AS base\nRUN touch /first\nFROM base AS base\nRUN touch /second\nFROM base\nENV x=y\n",
        builders=["buildkit"],
    ),
    Case(
        "scratch-copy",
        'FROM scratch\nCOPY d /\nCMD ["/x"]\n',
        {"d/x": File("x\n", 0o755), "d/l": Link("x"), "d/e": Directory(0o700)},
        differs={"legacy": _SCRATCH},
    ),
    Case(
        "scratch-config",
        'FROM scratch\nCOPY x /\nENV a=b\nLABEL c=d\nENTRYPOINT ["/x"]\n',
        {"x": ""},
        differs={"legacy": _SCRATCH},
    ),
    Case("scratch-workdir", "FROM scratch\nWORKDIR /a/b\nCOPY x .\n", {"x": ""}),
    Case(
        "on-build-triggers",
        "FROM onbuild-one\nRUN cat /app/a > /after\n",
        {"a": "a\n"},
        before={
            "onbuild-one": "FROM BASE\nWORKDIR /app\nONBUILD ARG v=1\nONBUILD ENV w=$v\n"
            "ONBUILD COPY a /app/\nONBUILD RUN echo $w > /t\n"
        },
        build_args={"v": "5"},
    ),
    Case(
        "on-build-once",
        "FROM onbuild-child\nRUN ls / > /after\n",
        before={
            "onbuild-parent": "FROM BASE\nONBUILD RUN touch /triggered\n",
            "onbuild-child": "FROM onbuild-parent\nRUN rm /triggered\n",
        },
    ),
    Case(
        "on-build-config",
        "FROM onbuild-config\n",
        before={"onbuild-config": 'FROM BASE\nONBUILD CMD ["x"]\nONBUILD ENTRYPOINT ["y"]\nONBUILD USER app\n'},
    ),
    Case(
        "on-build-stage",
        "FROM BASE AS one\nRUN echo 1 > /one\nFROM onbuild-copies\n",
        before={"onbuild-copies": "FROM BASE\nONBUILD COPY --from=one /one /two\n"},
        differs={"buildkit": "it did not know stages in triggers yet"},
    ),
    Case(
        "inherited-base-config",
        'FROM inherited\nRUN pwd > /tmp/p; id -u > /tmp/i; env | grep ^A > /tmp/a\nCMD ["c"]\n',
        before={
            "inherited": 'FROM BASE\nENV A=1\nUSER app\nWORKDIR /srv\nENTRYPOINT ["e"]\nLABEL l=m\nEXPOSE 1\n'
            'VOLUME /v\nSTOPSIGNAL INT\nHEALTHCHECK CMD x\nSHELL ["/bin/sh", "-ec"]\n'
        },
        differs={"legacy": "it makes the directory of a VOLUME at the next RUN"},
    ),
    Case(
        "inherited-entrypoint-resets",
        'FROM inherited-two\nENTRYPOINT ["f"]\n',
        before={"inherited-two": 'FROM BASE\nENTRYPOINT ["e"]\nCMD ["c"]\n'},
    ),
)
