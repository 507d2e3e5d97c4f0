"""A tool run as a user would, in a process of its own that need not import everything again."""

import functools
import os
import runpy
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

run_anew = subprocess.run


def run(command, show=False, **settings) -> subprocess.CompletedProcess:
    """``subprocess.run([python, script, ...])`` by a fork of this process.

    It has what this one has imported, and so starts in no time; a script that runs others in this
    way has theirs forked too. What it prints, of both kinds, is in ``stdout`` and ``stderr`` alike.
    Of the settings ``env``, ``cwd``, ``check`` and a file as ``stdout`` are looked at.
    """
    forkable = not isinstance(command, str) and str(command[0]) == sys.executable
    if not forkable or not str(command[1]).endswith('.py'):
        return run_anew(command, **settings)
    arguments = [str(part) for part in command]
    env, cwd = settings.get('env'), settings.get('cwd')
    with tempfile.TemporaryFile('w+') as output:
        child = os.fork()
        if child == 0:
            _become(arguments[1:], env, cwd, output.fileno())
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        output.seek(0)
        text = output.read()
    if hasattr(settings.get('stdout'), 'write'):
        settings['stdout'].write(text)
    elif show:
        print(text)
    if settings.get('check') and code:
        raise subprocess.CalledProcessError(code, arguments, text)
    return subprocess.CompletedProcess(arguments, code, text, text)


def _become(arguments: list[str], env: dict | None, cwd, output: int) -> None:
    """Be that script to the end, whatever that is; never return."""
    code = 1
    try:
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout, sys.stderr = (os.fdopen(os.dup(n), 'w', buffering=1) for n in (1, 2))
        sys.stdin = open(os.devnull)  # noqa: SIM115
        if env is not None:
            os.environ.clear()
            os.environ.update(env)
        if cwd is not None:
            os.chdir(cwd)
        sys.argv = arguments
        sys.path.insert(0, str(Path(arguments[0]).parent))
        subprocess.run = functools.partial(run, show=True)
        runpy.run_path(arguments[0], run_name='__main__')
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
