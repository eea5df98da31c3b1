"""What ends up in the config alone."""

from tests.differential.case import Case

_JSON = "it runs this in a shell, which nobody means: we say what is wrong with it"
_DOTS = "they leave .. in it, which comes to the same place"

CONFIGURING = (
    Case("config-cmd-forms", 'FROM BASE\nCMD ["a", "b c"]\n'),
    Case("config-cmd-shell", "FROM BASE\nCMD echo $HOME 'x y'  &&  true\n"),
    Case(
        "config-cmd-bad-json", "FROM BASE\nCMD ['a', 'b']\n", fails=True, differs={"legacy": _JSON, "buildkit": _JSON}
    ),
    Case("config-cmd-empty", "FROM BASE\nCMD []\n"),
    Case("config-cmd-last-wins", 'FROM BASE\nCMD ["a"]\nCMD ["b"]\n'),
    Case("config-entrypoint-drops-inherited-cmd", 'FROM BASE\nENTRYPOINT ["e"]\n'),
    Case("config-entrypoint-keeps-own-cmd", 'FROM BASE\nCMD ["c"]\nENTRYPOINT ["e"]\n'),
    Case("config-entrypoint-shell", "FROM BASE\nENTRYPOINT exec top -b\nCMD x y\n"),
    Case("config-entrypoint-empty", 'FROM BASE\nENTRYPOINT ["e"]\nCMD ["c"]\nENTRYPOINT []\n'),
    Case("config-entrypoint-over-stage", 'FROM BASE AS a\nCMD ["c"]\nENTRYPOINT ["e"]\nFROM a\nENTRYPOINT ["f"]\n'),
    Case("config-cmd-over-base", 'FROM BASE\nCMD ["z"]\n', before={}),
    Case(
        "config-labels",
        'FROM BASE\nLABEL a=1 "b c"="d e" f=\'g "h\' i="j \\\n k"\nLABEL l m  n\nLABEL a=2 empty= "q"=r\\ s\n',
    ),
    Case("config-labels-variables", "FROM BASE\nARG v=1\nENV w=2\nLABEL a=$v b=${w}x \"c$v\"=d e='$v' f=\\$v\n"),
    Case("config-labels-given", "FROM BASE\nLABEL a=1 b=2\n", labels={"b": "given", "c": "x y"}),
    Case("config-labels-of-base-stage", "FROM BASE AS a\nLABEL x=1\nFROM a\nLABEL y=2\n"),
    Case("config-expose", "FROM BASE\nEXPOSE 80 443/tcp 53/udp\nARG p=8080\nEXPOSE $p ${p}/udp 7000-7002\n"),
    Case("config-expose-sctp", "FROM BASE\nEXPOSE 9/sctp 10/TCP\n"),
    Case(
        "config-environment", "FROM BASE\nENV A=1 B=\"two words\" C='$A' D=$A\\ x E=\nENV F f  g  'h'\nENV A=2 G=$A\n"
    ),
    Case("config-environment-path", "FROM BASE\nENV PATH=/opt/bin:$PATH\nRUN echo $PATH > /a\n"),
    Case("config-environment-tabs", "FROM BASE\nENV\tA=1\t\tB=2\n"),
    Case("config-environment-continued", "FROM BASE\nENV A=1 \\\n    B=2 \\\n# comment\n    C=3\n"),
    Case("config-user", "FROM BASE\nUSER app:staff\n"),
    Case("config-user-variable", "FROM BASE\nARG u=app\nUSER $u\n"),
    Case("config-user-unknown", "FROM BASE\nUSER nobody-here\n"),
    Case("config-stop-signal", "FROM BASE\nSTOPSIGNAL SIGKILL\n"),
    Case("config-stop-signal-number", "FROM BASE\nENV S=9\nSTOPSIGNAL $S\n"),
    Case("config-shell", 'FROM BASE\nSHELL ["/bin/ash", "-c"]\nCMD a b\nENTRYPOINT c\n'),
    Case("config-maintainer", "FROM BASE\nMAINTAINER Someone <a@b.c>\n"),
    Case(
        "config-healthcheck",
        "FROM BASE\n"
        "HEALTHCHECK --interval=5s --timeout=1m30s --start-period=500ms --retries=4 CMD curl -f x || exit 1\n",
    ),
    Case("config-healthcheck-exec", 'FROM BASE\nHEALTHCHECK CMD ["a", "b"]\n'),
    Case("config-healthcheck-none", "FROM BASE\nHEALTHCHECK CMD x\nHEALTHCHECK NONE\n"),
    Case(
        "config-workdir",
        "FROM BASE\nWORKDIR /a\nWORKDIR b\nWORKDIR /c/../d\n",
        differs={"legacy": _DOTS, "buildkit": _DOTS},
    ),
    Case(
        "config-on-build", 'FROM BASE\nONBUILD RUN  echo x\nONBUILD COPY . /app\nonbuild env a=b\nONBUILD CMD ["x"]\n'
    ),
    Case("config-case", "from BASE as X\nrun echo 1 > /a\nEnv a=b\nworkDir /w\ncmd x\n"),
    Case("config-carriage-returns", "FROM BASE\r\nENV a=b\r\nLABEL x=y\r\nRUN echo hi > /a\r\nCMD c\r\n"),
    Case("config-byte-order-mark", "\ufeffFROM BASE\nENV a=b\n"),
    Case("config-comments", "# first\n  # second\nFROM BASE\n   # third\nENV a=b#no-comment\n"),
    Case("config-base-command-stays", "FROM BASE\nENV x=y\n"),
)
