"""The bot's end of the pipe: one bot of another package in a process of its own, one JSON line per request and answer.

Started as `python -I -m signals.sandbox.worker` by `signals/sandbox/process.py`, which ends it when it breaks a limit.
"""

import base64
import json
import os
import resource
import select
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType
from typing import Any, BinaryIO, Final

import numpy as np
from pydantic import ValidationError

from ledger.values import Instrument
from signals.bot import BAR, Bot, Signal, Window, first_fault
from signals.sandbox.guard import Failure, answer_of

CPU_S: Final = 60
"""Seconds of processor time per answer, after which the system ends the process even when nothing waits for it."""

FORBIDDEN: Final = {
    *(f"socket.{act}" for act in ("connect", "bind", "sendto", "sendmsg", "getaddrinfo", "gethostbyname")),
    *(f"os.{act}" for act in ("fork", "forkpty", "posix_spawn", "exec", "spawn", "system", "kill", "killpg")),
    "subprocess.Popen",
    *(f"os.{act}" for act in ("remove", "rename", "rmdir", "mkdir", "truncate", "link", "symlink", "chmod", "chown")),
}
"""Audit events that are refused: network, database, other processes, and changes to files."""

PROCESSES: Final = "/proc"
"""Not readable either: it contains the environment of Daybook's own process, which may hold secrets."""

WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
"""Opening with one of these can truncate a file, which a size limit does not prevent."""


def main() -> None:
    """Answer requests until the pipe closes. The first one names the bot."""
    requests, answers = _own_pipes()
    threading.Thread(target=_end_with_parent, args=(requests.fileno(),), daemon=True).start()
    os.environ.clear()
    host = Host()
    for line in requests:
        request = json.loads(line)
        answer = answer_of(partial(host.answer, request))
        fields = {"fault": answer.text} if isinstance(answer, Failure) else answer
        answers.write(json.dumps({"number": request["number"], **fields}).encode() + b"\n")
        answers.flush()


class Host:
    """One bot and the requests that it answers."""

    def __init__(self) -> None:
        self._bot: Bot
        self._known: Final[Mapping[str, Callable[[Any], dict[str, Any]]]] = {
            "load": self._load,
            "complete": self._complete,
            "needs": self._needs,
            "evaluate": self._evaluate,
        }

    def answer(self, request: Any) -> dict[str, Any]:
        """Answer one request. Raises any exception of the bot."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        _limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + CPU_S)
        return self._known[request["do"]](request)

    def _load(self, request: Any) -> dict[str, Any]:
        """Set the limits, import the bot's class and create the bot."""
        _enclose(request["memory"], request["files"])
        sys.addaudithook(_refuse)
        module, _, name = request["target"].partition(":")
        sys.meta_path.insert(0, HashedSource(module.partition(".")[0], request["folder"]))
        if request["folder"] not in sys.path:
            sys.path.append(request["folder"])
        self._bot = getattr(import_module(module), name)()
        return {
            "kind": self._bot.kind,
            "version": self._bot.version,
            "schema": self._bot.Params.model_json_schema(),
            "scale_free": bool(getattr(self._bot, "scale_free", True)),
        }

    def _complete(self, request: Any) -> dict[str, Any]:
        try:
            return {"params": self._params(request).model_dump(mode="json")}
        except ValidationError as error:
            return {"refused": first_fault(error)}

    def _needs(self, request: Any) -> dict[str, Any]:
        return {"bars": self._bot.needs(self._params(request)).bars}

    def _evaluate(self, request: Any) -> dict[str, Any]:
        window = Window(
            Instrument(request["instrument"]),
            timedelta(microseconds=request["timeframe"]),
            datetime.fromisoformat(request["asof"]),
            np.frombuffer(base64.b64decode(request["bars"]), dtype=BAR),
        )
        signal: object = self._bot.evaluate(window, self._params(request))
        if signal is None:
            return {"signal": None}
        if not isinstance(signal, Signal):
            raise TypeError("evaluate returned something that is not a Signal")
        try:
            return {"signal": Signal.model_validate(signal.model_dump()).model_dump(mode="json")}
        except ValidationError as error:
            raise ValueError(f"its signal is invalid: {first_fault(error)}") from None

    def _params(self, request: Any) -> Any:
        return self._bot.Params.model_validate_json(json.dumps(request["params"]))


class HashedSource(MetaPathFinder):
    """Imports the bot's own package only from the source in the folder that was hashed, ignoring compiled files."""

    def __init__(self, package: str, folder: str) -> None:
        self._package = package
        self._folder = folder

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] != self._package:
            return None
        spec = PathFinder.find_spec(fullname, path or [self._folder], target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Uncompiled(spec.loader.name, spec.loader.path)
        return spec


class _Uncompiled(SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def _own_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Move the pipes to other descriptors: standard input and output of the bot go to /dev/null."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    os.close(nothing)
    return requests, answers


def _end_with_parent(pipe: int) -> None:
    """End the process when its pipe closes, whatever it is doing."""
    waiting = select.poll()
    waiting.register(pipe, 0)
    waiting.poll()
    os._exit(0)


def _enclose(memory: int, files: int) -> None:
    """Limit memory and open files, and forbid writing files and starting processes (not enforced for root)."""
    _limit(resource.RLIMIT_AS, memory)
    _limit(resource.RLIMIT_NOFILE, files)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_CORE, 0)
    if hasattr(resource, "RLIMIT_NPROC"):
        _limit(resource.RLIMIT_NPROC, 0)


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    """Raise PermissionError for audit events that no bot needs. Compiled code can evade this; the limits still hold."""
    if event in FORBIDDEN or (event == "open" and arguments[0] != os.devnull and arguments[2] & WRITING):
        raise PermissionError(f"a bot may not do this: {event}")
    if event == "open" and not isinstance(arguments[0], int) and _of_processes(os.fsdecode(arguments[0])):
        raise PermissionError(f"a bot may not do this: {event} below {PROCESSES}")


def _of_processes(path: str) -> bool:
    """`True` when the path leads below /proc, also through links."""
    return os.path.realpath(path).startswith(PROCESSES + os.sep)


def _limit(resource_id: int, most: int) -> None:
    # The hard limit of processor time stays: each answer raises the soft one.
    hard = resource.getrlimit(resource_id)[1] if resource_id == resource.RLIMIT_CPU else most
    with suppress(ValueError, OSError):  # not supported by this system: run without it
        resource.setrlimit(resource_id, (most, hard))


if __name__ == "__main__":
    main()
