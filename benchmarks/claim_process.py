"""Runs the tools of claims.py's stages in forks of a process that has imported what they need.

A stage of a minute would spend eight seconds of it on imports, and there are hundreds.
"""

import os
import runpy
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

# Where a GPU was asked for without this, as mmengine does as it is imported, no fork can use it.
os.environ.setdefault('PYTORCH_NVML_BASED_CUDA_CHECK', '1')


def import_everything() -> None:
    """What stages import, once for all of them."""
    import mmpretrain.apis  # noqa: F401
    import mmseg.apis  # noqa: F401

    import beit_mm.engine
    import beit_mm.models  # noqa: F401


def call(command: Sequence[str | Path], output: TextIO) -> int:
    """``python COMMAND`` in a fork of this process, with what it prints in a file.

    Returns:
        Its exit status, negative if a signal ended it.
    """
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        _become([str(part) for part in command], output)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _become(command: list[str], output: TextIO) -> None:
    """Be that script to the end, whatever that is; never return."""
    code = 1
    try:
        for number in (1, 2):
            os.dup2(output.fileno(), number)
        sys.stdout, sys.stderr = (os.fdopen(os.dup(n), 'w', buffering=1) for n in (1, 2))
        sys.argv = command
        sys.path[0] = str(Path(command[0]).parent)
        runpy.run_path(command[0], run_name='__main__')
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
