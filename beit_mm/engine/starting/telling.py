"""How a mistake is told: in a line, without a traceback, and with nothing left behind."""

import contextlib
import io
import logging
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from mmengine.logging import MMLogger
from mmengine.visualization import Visualizer

from ...checkpoints import CheckpointError
from ...component import ConfigError, in_a_line
from ...datasets import CacheError
from ..running.run_stopped import RunStopped
from .measured_ranges import FILE
from .tracking import STORE

MISTAKES = (CacheError, CheckpointError, ConfigError, FileNotFoundError)
# Exit statuses: of a mistake told before the first iteration, and of a run that ended itself.
MISTAKE, STOPPED = 2, 1


@contextlib.contextmanager
def told_in_a_line(what: str, debug: bool) -> Iterator[None]:
    """End the process with the message of a mistake alone.

    Args:
        what: The message names first: a config, a command.
        debug: Whether to let the traceback be seen.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names of files may be no text, or none that a terminal has letters for.
        sys.stdout.reconfigure(errors='backslashreplace')
    try:
        yield
    except (*MISTAKES, RunStopped) as error:
        if debug:
            raise
        print(f'{what}: {error}', file=sys.stderr)
        sys.exit(STOPPED if isinstance(error, RunStopped) else MISTAKE)


@contextlib.contextmanager
def mistakes_of(what: str) -> Iterator[None]:
    """Take whatever goes wrong while something is built for a mistake in the config.

    Raises:
        ConfigError: With the kind and the first line of the error, which ``--debug`` shows whole.
    """
    try:
        yield
    except (*MISTAKES, RunStopped):
        raise
    except Exception as error:
        raise ConfigError(f'{what} failed: {in_a_line(error)} (--debug shows where)') from error


@contextlib.contextmanager
def leaving_nothing(work_dir: Path, config: str, has_begun: Callable[[], bool]) -> Iterator[None]:
    """Remove what a run has written into its work directory if it fails before it has begun.

    Args:
        work_dir: It may not be there yet.
        config: Name of the file that the Runner writes its config to.
        has_begun: Whether the first iteration is done.
    """
    existed, dumped = work_dir.is_dir(), work_dir / config
    there = {path.resolve() for path in work_dir.iterdir()} if existed else set()
    config_before = dumped.read_bytes() if dumped.is_file() else None
    # mmengine keeps those of runs before.
    visualizers = set(Visualizer._instance_dict)
    try:
        yield
    except BaseException as error:
        _close_trackers(visualizers)
        if isinstance(error, Exception) and not has_begun():
            for folder in [*_log_folders(), work_dir.resolve() / STORE]:
                # A folder that this run has made in its work directory, and no other.
                if folder.parent == work_dir.resolve() and folder not in there:
                    shutil.rmtree(folder, ignore_errors=True)
            ranges = work_dir / FILE
            if ranges.resolve() not in there:
                ranges.unlink(missing_ok=True)
            if config_before is None:
                dumped.unlink(missing_ok=True)
            elif dumped.parent.is_dir():
                dumped.write_bytes(config_before)
            if not existed and work_dir.is_dir() and not any(work_dir.iterdir()):
                work_dir.rmdir()
        raise


def _close_trackers(others: set[str]) -> None:
    """Have a run's trackers write what they still hold, before its folder may go.

    Args:
        others: Names of visualizers that are none of this run's.
    """
    for name, visualizer in list(Visualizer._instance_dict.items()):
        if name not in others:
            with contextlib.suppress(Exception):
                visualizer.close()


def _log_folders() -> list[Path]:
    """Folders of this process' log: closed, so that they can go."""
    logger = MMLogger.get_current_instance()
    files = [handler for handler in logger.handlers if isinstance(handler, logging.FileHandler)]
    for handler in files:
        handler.close()
        logger.removeHandler(handler)
    return [Path(handler.baseFilename).parent.resolve() for handler in files]
