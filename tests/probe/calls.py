"""What becomes of system calls: a program that is run in the containers that are compared (``python3 -c``).

It needs Python and its standard library alone, and has no effect but on children of its own.
"""

import ctypes
import errno
import mmap
import os
import platform
import signal
import socket
import struct
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial

_ALLOWED = 4000  # an errno that no call has
_MARK = 0x50524F42
_NUMBERS = 480
_SECONDS = 0.5
_X32 = 0x40000000
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_CLONE, _UNSHARE, _PERSONALITY, _SOCKET = "clone", "unshare", "personality", "socket"
_CONDITIONAL = {
    "x86_64": {_CLONE: 56, _UNSHARE: 272, _PERSONALITY: 135, _SOCKET: 41},
    "x86": {_CLONE: 120, _UNSHARE: 310, _PERSONALITY: 136, _SOCKET: 359},
    "aarch64": {_CLONE: 220, _UNSHARE: 97, _PERSONALITY: 92, _SOCKET: 198},
}
_PERSONALITIES = (0, 1, 4, 8, 0x20000, 0x20008, 0x40000, 0x200000, 0x4000000, 0xFFFFFFFF)
_FAMILIES = range(64)
_FLAGS = tuple(1 << bit for bit in range(7, 32))
# Carried out, these would reach further than to the child: shmget, fork, vfork, semget, msgget, vhangup, sync.
_NOT_CARRIED_OUT = {"x86_64": {29, 57, 58, 64, 68, 153, 162}, "aarch64": {58, 81, 186, 190, 194}}
# No filter is asked about them: they are the kernel's own, for probes (uretprobe, uprobe).
_NOT_FILTERED = {"x86_64": {335, 336}}
# push rbx; push rbp; eax, ebx, ecx, edx, esi, ebp, edi = *rdi; int 0x80; pop rbp; pop rbx; ret
_INT_80 = bytes.fromhex("5355 8b07 8b5f04 8b4f08 8b570c 8b7710 8b6f18 8b7f14 cd80 5d5b c3")

_libc = ctypes.CDLL(None, use_errno=True)
_Call = Callable[[int, Sequence[int]], int]


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_char_p)]


def system_calls(carried_out: bool) -> dict[str, object]:
    """By interface what the container's filter says, and on request what the calls come to when they are made."""
    machine = platform.machine()
    interfaces: dict[str, tuple[_Call, int]] = {machine: (_call, 0)}
    if machine == "x86_64":
        interfaces |= {"x32": (_call, _X32), "x86": (_call_x86, 0)}
    return {
        "filter": {name: _decisions(name, *each) for name, each in interfaces.items()},
        "carried out": _carried_out(machine) if carried_out else {},
        "socket": {str(family): _in_child(partial(_open_socket, family)) for family in _FAMILIES},
    }


def _call(number: int, arguments: Sequence[int]) -> int:
    """The errno, 0 for success."""
    words = [ctypes.c_ulong(word) for word in (number, *arguments)]
    return ctypes.get_errno() if _libc.syscall(*words) == -1 else 0


def _call_x86(number: int, arguments: Sequence[int]) -> int:
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(_INT_80)
    start = ctypes.addressof(ctypes.c_char.from_buffer(page))
    words = (ctypes.c_uint32 * 7)(number, *(word & 0xFFFFFFFF for word in arguments))
    result: int = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(start)(ctypes.addressof(words))
    return -result if -4096 < result < 0 else 0


def _decisions(interface: str, call: _Call, first: int) -> dict[str, str]:
    """What the filter answers to each number, and to the arguments that it looks at. No call is carried out.

    Behind it lies a filter of our own, which hands calls that carry a mark to a supervisor, and that one answers.
    """
    numbers = set(range(_NUMBERS)) - _NOT_FILTERED.get(interface, set())
    requests: dict[str, tuple[int, tuple[int, ...]]] = {str(number): (number, (0,)) for number in sorted(numbers)}
    for name, number in _CONDITIONAL.get("x86_64" if interface == "x32" else interface, {}).items():
        values = {_PERSONALITY: _PERSONALITIES, _SOCKET: tuple(_FAMILIES)}.get(name, _FLAGS)
        requests |= {f"{name} {value:#x}": (number, (value,)) for value in values}
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        with os.fdopen(writing, "wb", buffering=0) as answers:
            _supervise_own_thread()
            for number, arguments in requests.values():
                padded = [*arguments, *[0] * (5 - len(arguments)), _MARK]
                answers.write(struct.pack("<i", call(first + number, padded)))
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answers:
        data = answers.read()
    status = os.waitpid(child, 0)[1]
    found = [_name(number) for (number,) in struct.iter_unpack("<i", data)]
    if len(found) < len(requests):
        found.append(_ended(status))
    return dict(zip(requests, found, strict=False))


def _supervise_own_thread() -> None:
    instructions = b"".join(
        struct.pack("<HBBI", *instruction)
        for instruction in (
            (0x20, 0, 0, 16 + 8 * 5),  # the sixth argument
            (0x15, 0, 1, _MARK),
            (0x06, 0, 0, 0x7FC00000),  # to the supervisor
            (0x06, 0, 0, 0x7FFF0000),  # allowed
        )
    )
    program = _Program(len(instructions) // 8, instructions)
    _libc.prctl(38, 1, 0, 0, 0)  # no new privileges, without which an ordinary user may have no filter
    set_mode_filter, new_listener = 1, 8
    listeners: list[int] = []
    opened = threading.Event()
    threading.Thread(target=_answer, args=(listeners, opened), daemon=True).start()
    listener = _libc.syscall(_SECCOMP[platform.machine()], set_mode_filter, new_listener, ctypes.byref(program))
    if listener < 0:
        os._exit(ctypes.get_errno())
    listeners.append(listener)
    opened.set()


def _answer(listeners: list[int], opened: threading.Event) -> None:
    opened.wait()
    receive, send = 0xC0502100, 0xC0182101
    while True:
        request = ctypes.create_string_buffer(80)
        if _libc.ioctl(listeners[0], ctypes.c_ulong(receive), request) == 0:
            answer = struct.pack("<Qqii", struct.unpack_from("<Q", request)[0], 0, -_ALLOWED, 0)
            _libc.ioctl(listeners[0], ctypes.c_ulong(send), answer)


def _carried_out(machine: str) -> dict[str, str]:
    """Each call with arguments that none has a use for, in a child."""
    nonsense = [2**64 - 1] * 6
    left_out = _NOT_CARRIED_OUT.get(machine, set())
    numbers = [number for number in range(_NUMBERS) if number not in left_out]
    return {str(number): _in_child(partial(_call, number, nonsense)) for number in numbers}


def _open_socket(family: int) -> int:
    """The first kind of socket that this family has decides."""
    found = errno.EPROTONOSUPPORT
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
        try:
            socket.socket(family, kind, 0).close()
        except OSError as error:
            found = error.errno or 0
            if found not in (errno.ESOCKTNOSUPPORT, errno.EPROTONOSUPPORT, errno.EINVAL):
                break
        else:
            return 0
    return found


def _in_child(call: Callable[[], int]) -> str:
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, _SECONDS)
        os._exit(call())
    return _ended(os.waitpid(child, 0)[1])


def _ended(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return signal.Signals(-code).name if code < 0 else _name(code)


def _name(number: int) -> str:
    return {0: "done", _ALLOWED: "allowed"}.get(number) or errno.errorcode.get(number, str(number))
