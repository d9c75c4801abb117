"""The far end of the pipe: one bot of another package in a process of its own, asked line by line.

Run as `python -I -m signals.sandbox.worker` by `signals/sandbox/process.py`, which ends it when it is late or says too much.
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
"""So many seconds of computing may one answer take before the system ends the process, even if nobody waits for it."""

FORBIDDEN: Final = {
    *(f"socket.{act}" for act in ("connect", "bind", "sendto", "sendmsg", "getaddrinfo", "gethostbyname")),
    *(f"os.{act}" for act in ("fork", "forkpty", "posix_spawn", "exec", "spawn", "system", "kill", "killpg")),
    "subprocess.Popen",
    *(f"os.{act}" for act in ("remove", "rename", "rmdir", "mkdir", "truncate", "link", "symlink", "chmod", "chown")),
}
"""What is refused by its audit event: other machines, the database, other processes, and changing files."""

PROCESSES: Final = "/proc"
"""What lies there is not read either: the environment of Daybook's own process, which may hold secrets, among it."""

WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
"""A file that is opened so may lose what it holds, which no limit on its size prevents."""


def main() -> None:
    """Answers requests until there are no more: each a line of JSON, as is each answer. The first one names the bot."""
    asked, answers = _own_pipes()
    threading.Thread(target=_end_with_parent, args=(asked.fileno(),), daemon=True).start()
    os.environ.clear()
    host = Host()
    for line in asked:
        request = json.loads(line)
        answer = answer_of(partial(host.answer, request))
        said = {"fault": answer.text} if isinstance(answer, Failure) else answer
        answers.write(json.dumps({"number": request["number"], **said}).encode() + b"\n")
        answers.flush()


class Host:
    """One bot and what may be asked of it."""

    def __init__(self) -> None:
        self._bot: Bot
        self._known: Final[Mapping[str, Callable[[Any], dict[str, Any]]]] = {
            "load": self._load,
            "complete": self._complete,
            "needs": self._needs,
            "evaluate": self._evaluate,
        }

    def answer(self, request: Any) -> dict[str, Any]:
        """What the bot says. Raises whatever it raises."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        _limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + CPU_S)
        return self._known[request["do"]](request)

    def _load(self, request: Any) -> dict[str, Any]:
        """The bot's class has been imported within the limits, and one was made."""
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
            raise TypeError("it answers with something that is not a Signal")
        try:
            return {"signal": Signal.model_validate(signal.model_dump()).model_dump(mode="json")}
        except ValidationError as error:
            raise ValueError(f"it answers with a signal that is out of bounds: {first_fault(error)}") from None

    def _params(self, request: Any) -> Any:
        return self._bot.Params.model_validate_json(json.dumps(request["params"]))


class HashedSource(MetaPathFinder):
    """Finds the bot's own package in the folder where it was hashed, and nowhere else, past what was compiled of it."""

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
    """The pipes to the parent, under numbers of their own: what the bot prints or reads goes nowhere."""
    asked, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    os.close(nothing)
    return asked, answers


def _end_with_parent(pipe: int) -> None:
    """The process ends when nobody can ask it any more, whatever it is doing."""
    waiting = select.poll()
    waiting.register(pipe, 0)
    waiting.poll()
    os._exit(0)


def _enclose(memory: int, files: int) -> None:
    """No more memory or files than this, no other process (which the system does not keep root from), and no file is written."""
    _limit(resource.RLIMIT_AS, memory)
    _limit(resource.RLIMIT_NOFILE, files)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_CORE, 0)
    if hasattr(resource, "RLIMIT_NPROC"):
        _limit(resource.RLIMIT_NPROC, 0)


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    """What no bot has to do raises PermissionError. Compiled code can get past this, and is what the limits are for."""
    if event in FORBIDDEN or (event == "open" and arguments[0] != os.devnull and arguments[2] & WRITING):
        raise PermissionError(f"a bot may not do this: {event}")
    if event == "open" and not isinstance(arguments[0], int) and _of_processes(os.fsdecode(arguments[0])):
        raise PermissionError(f"a bot may not do this: {event} what lies under {PROCESSES}")


def _of_processes(path: str) -> bool:
    """Whether it leads to what the system tells of processes, over whatever links."""
    return os.path.realpath(path).startswith(PROCESSES + os.sep)


def _limit(what: int, most: int) -> None:
    # The hard limit for computing stays open: the next answer is allowed as much again.
    hard = resource.getrlimit(what)[1] if what == resource.RLIMIT_CPU else most
    with suppress(ValueError, OSError):  # a system that does not know this limit runs the bot without it
        resource.setrlimit(what, (most, hard))


if __name__ == "__main__":
    main()
