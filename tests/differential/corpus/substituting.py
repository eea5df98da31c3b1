"""ARG and ENV: what variables stand for, and where."""

from tests.differential.case import Case

SUBSTITUTING = (
    Case("arg-default", "FROM BASE\nARG a=1\nARG b\nRUN echo $a-$b- > /x\nENV c=$a d=$b\n"),
    Case(
        "arg-given",
        "FROM BASE\nARG a=1\nARG b\nRUN echo $a-$b > /x\nENV c=$a d=$b\n",
        build_args={"a": "given", "b": "too"},
    ),
    Case("arg-before-declaration", "FROM BASE\nENV x=-$a-\nARG a=1\nENV y=-$a-\n", build_args={"a": "2"}),
    Case("arg-global", "ARG tag=BASE\nARG v=1\nFROM $tag\nENV a=-$v-\nARG v\nENV b=-$v-\n"),
    Case("arg-global-given", "ARG base\nARG v=1\nFROM ${base:-BASE}\nARG v\nENV b=$v\n", build_args={"v": "3"}),
    Case("arg-global-overridden", "ARG v=1\nFROM BASE\nARG v=2\nENV b=$v\n"),
    Case(
        "arg-stage-scope",
        "FROM BASE AS one\nARG a=1\nRUN echo $a > /one\nFROM BASE\nCOPY --from=one /one /\nENV x=-$a-\n",
    ),
    Case(
        "arg-inherited-stage",
        "FROM BASE AS one\nARG a=1\nFROM one\nENV x=-$a-\nRUN echo -$a- > /x\n",
        differs={"legacy": "arguments end with their stage there, and BuildKit's reach those that stand on it"},
    ),
    Case("arg-env-wins", "FROM BASE\nARG a=arg\nENV a=env\nRUN echo $a > /x\nENV b=$a\n", build_args={"a": "given"}),
    Case(
        "arg-after-env",
        "FROM BASE\nENV a=env\nARG a=arg\nRUN echo $a > /x\nENV b=$a\n",
        differs={"legacy": "ENV wins there, and with BuildKit whichever comes later"},
    ),
    Case("arg-of-arg", "FROM BASE\nARG a=1\nARG b=${a}2\nENV c=$b\n"),
    Case("arg-quoted", "FROM BASE\nARG a=\"x y\"\nARG b='p q'\nARG c=r\\ s\nENV d=$a e=$b f=$c\n"),
    Case("arg-several", "FROM BASE\nARG a=1 b=2 c\nENV d=$a$b$c\n", builders=["buildkit"]),
    Case("arg-empty", "FROM BASE\nARG a=\nENV b=x${a:-unset}y d=-${a:+set}- e=-$a-\n"),
    Case("arg-default-form", 'FROM BASE\nENV a=1\nENV b=${a:-x} c="${z:-x y}" d=${a:+yes} e=${z:+no} f=${z:-$a}\n'),
    Case("arg-nested-default", 'FROM BASE\nENV a=1\nENV b=${z:-${y:-${a}}} c="${z:-q r}"\n'),
    Case("variable-escapes", 'FROM BASE\nENV a=1\nENV b=\\$a c=\\\\$a d=\'$a\' e="\\$a" f="$a" g=$a$a h=${a}b i=$ab\n'),
    Case("variable-same-line", "FROM BASE\nENV a=1\nENV a=2 b=$a\n"),
    Case("variable-in-copy", "FROM BASE\nENV d=/srv\nARG f=a\nCOPY $f ${d}/$f.x\n", {"a": "a\n"}),
    Case("variable-in-add", "FROM BASE\nARG f=page\nADD PAGES/${f}.txt /srv/\n"),
    Case("variable-unset", 'FROM BASE\nENV a=x$nothing-y b=$ c="$" d=$1 e="a$"\n'),
    Case(
        "variable-not-in-run", "FROM BASE\nENV a=1\nRUN a=2; echo $a ${a} '$a' > /x\nCMD echo $a\nENTRYPOINT [\"$a\"]\n"
    ),
    Case("variable-special-names", "FROM BASE\nENV a_b=1 A2=2\nENV c=$a_b-$A2-$a_b2\n"),
    Case(
        "platform-arguments",
        "ARG BUILDPLATFORM\nFROM BASE\nARG TARGETPLATFORM\nARG TARGETARCH\nARG TARGETOS\n"
        "ARG BUILDARCH\nENV p=$TARGETPLATFORM a=$TARGETARCH o=$TARGETOS b=$BUILDARCH\n",
        builders=["buildkit"],
    ),
    Case("platform-in-from", "FROM --platform=$BUILDPLATFORM BASE\nENV a=b\n", builders=["buildkit"]),
)
