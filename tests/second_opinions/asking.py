"""Asking a tool that lives in a Python of its own, over files."""

import json
import subprocess
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
PYTHON: Final = HERE.parent.parent / ".venv-second-opinions" / "bin" / "python"


def ask(script: str, question: object, folder: Path) -> Any:
    """What the tool answers. It runs in a folder of its own, where it may leave its logs."""
    assert PYTHON.exists(), "the other tools are not installed: run make second-opinions"
    asked, answered = folder / "asked.json", folder / "answered.json"
    asked.write_text(json.dumps(question), encoding="utf-8")
    done = subprocess.run(
        [PYTHON, HERE / script, asked, answered], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(answered.read_text(encoding="utf-8"))
