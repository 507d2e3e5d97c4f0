"""A tool run as a user would, in a process of its own that need not import everything again."""

import functools
import os
import random
import runpy
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from mmengine.runner import runner
from mmengine.utils import ManagerMixin

from beit_mm.engine.starting import stages

run_anew = subprocess.run


class OwnSeconds:
    """The clock by which mmengine names a run: each has a second of its own.

    Runs of one second share logs and message hubs, and those of tests are as short as that.
    """

    last = 0.0

    def time(self) -> float:
        OwnSeconds.last = max(time.time(), OwnSeconds.last + 1)
        return OwnSeconds.last

    def __getattr__(self, name: str):
        return getattr(time, name)


runner.time = OwnSeconds()


def run(command, show=False, **settings) -> subprocess.CompletedProcess:
    """``subprocess.run([python, script, ...])`` by a fork of this process.

    It has what this one has imported, and so starts in no time; a script that runs others in this
    way, or stages, has theirs forked too. What it prints, of both kinds, is in ``stdout`` and
    ``stderr`` alike. Of the settings ``env``, ``cwd``, ``check`` and a file as ``stdout`` are
    looked at.
    """
    if not _is_script(command):
        return run_anew(command, **settings)
    import_what_tools_do()
    arguments = [str(part) for part in command]
    env, cwd = settings.get('env'), settings.get('cwd')
    with tempfile.TemporaryFile('w+') as output:
        if _can_compute_in_forks():
            runner.time.time()
            child = os.fork()
            if child == 0:
                _become(arguments[1:], env, cwd, output.fileno())
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        else:
            merged = dict(stdout=output, stderr=subprocess.STDOUT)
            code = run_anew(arguments, env=env, cwd=cwd, **merged).returncode
        output.seek(0)
        text = output.read()
    if hasattr(settings.get('stdout'), 'write'):
        settings['stdout'].write(text)
    elif show:
        print(text)
    if settings.get('check') and code:
        raise subprocess.CalledProcessError(code, arguments, text)
    return subprocess.CompletedProcess(arguments, code, text, text)


class Popen:
    """``subprocess.Popen`` as :func:`beit_mm.engine.run_stage` calls it, by a fork."""

    def __init__(self, command, stdout, stderr, env, start_new_session) -> None:
        self.args, self.returncode = command, None
        runner.time.time()
        self.pid = os.fork()
        if self.pid == 0:
            os.setsid()
            _become(command[1:], env, None, stdout.fileno())

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.wait()

    def poll(self) -> int | None:
        if self.returncode is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            if ended:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout=float('inf')) -> int:
        end = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired(self.args, timeout)
            time.sleep(0.01)
        return self.returncode

    def terminate(self) -> None:
        os.kill(self.pid, signal.SIGTERM)


def open_process(command, **settings):
    """``subprocess.Popen``; that of a script in a fork."""
    forks = _is_script(command) and _can_compute_in_forks()
    return (Popen if forks else subprocess.Popen)(command, **settings)


# In the place of stages.subprocess: the stages of a command begin with what is imported here.
OF_STAGES = SimpleNamespace(Popen=open_process, TimeoutExpired=subprocess.TimeoutExpired)


def import_what_tools_do() -> None:
    """Import, once, what each fork would import for itself."""
    import mmpretrain.apis  # noqa: F401
    import mmseg.apis  # noqa: F401


def _is_script(command) -> bool:
    """Whether it is a list of Python, a script of it and arguments."""
    of_python = not isinstance(command, str) and str(command[0]) == sys.executable
    return of_python and str(command[1]).endswith('.py')


def _can_compute_in_forks() -> bool:
    """Whether PyTorch's autograd works in a fork.

    It does not once threads for its devices have started, which after some exports they have, now
    and then; processes begin anew from then on.
    """
    child = os.fork()
    if child == 0:
        try:
            torch.ones(1, requires_grad=True).sum().backward()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _begin_anew() -> None:
    """Be without what a test has left behind, as a new process is."""
    # Loggers, message hubs, visualizers and default scopes of mmengine, by their names.
    kinds = [ManagerMixin]
    for kind in kinds:
        kind._instance_dict.clear()
        kinds += kind.__subclasses__()
    # PyTorch's generator begins with the same seed everywhere, the others with any.
    torch.set_rng_state(torch.Generator().get_state())
    np.random.seed()
    random.seed()


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
        stages.subprocess = OF_STAGES
        _begin_anew()
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
