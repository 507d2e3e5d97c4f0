"""``beit-mm report``: how runs went, and what looks wrong in them, as one page."""

import warnings
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np

from ..checkpoints.writing import write_whole
from ..component import ConfigError
from ..reporting import look_for_what_is_wrong, page_of, read_run

NAME = 'report.html'


def report(work_dirs: str | Path | Sequence[str | Path], out: str | Path | None = None) -> Path:
    """Write a page of one run or of several side by side, and print what looks wrong.

    Args:
        work_dirs: Folders of ``beit-mm pretrain``, ``finetune`` and ``segment``, of
            ``tools/train.py`` and of the quickstart; also of a run that goes on or was killed.
        out: The page; None for ``report.html`` in the first folder.

    Returns:
        The page, one HTML file that needs nothing beside it.

    Raises:
        ConfigError: If a folder is not there or holds no run, or ``out`` is a folder.
    """
    folders = [work_dirs] if isinstance(work_dirs, (str, Path)) else list(work_dirs)
    if not folders:
        raise ConfigError('no folder of a run was given')
    names = _names([Path(folder).expanduser().resolve() for folder in folders])
    runs = [read_run(folder, name) for folder, name in zip(folders, names, strict=True)]
    target = runs[0].path / NAME if out is None else Path(out).expanduser()
    if target.is_dir():
        raise ConfigError(f'--out is {out}, which is a folder; name the file, such as {NAME}')
    # What a run has logged may be not finite, or near the end of what a float holds.
    with np.errstate(all='ignore'), warnings.catch_warnings():
        warnings.simplefilter('ignore', RuntimeWarning)
        found = [(run, look_for_what_is_wrong(run)) for run in runs]
        page = page_of(found, datetime.now())
    target.parent.mkdir(parents=True, exist_ok=True)
    # Names of files may be no text.
    write_whole(target, page.encode(errors='backslashreplace'))
    for run, findings in found:
        name = f'{run.name}: ' if len(runs) > 1 else ''
        if not findings:
            print(f'{name}nothing looks wrong')
        for finding in findings:
            stage = f'{finding.stage}: ' if finding.stage else ''
            print(f'{name}{stage}{finding.title} {finding.evidence}')
    print(f'{target}, {target.stat().st_size / 1e6:.1f} MB: open it in a browser')
    return target


def _names(paths: Sequence[Path]) -> list[str]:
    """Names by which folders are known apart: their last part, or as many as it takes.

    >>> _names([Path('/runs/a/pretrain'), Path('/runs/b/pretrain')])
    ['a/pretrain', 'b/pretrain']
    """
    for parts in range(1, max(len(path.parts) for path in paths)):
        names = ['/'.join(path.parts[-parts:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [f'{path.name} ({index + 1})' for index, path in enumerate(paths)]
