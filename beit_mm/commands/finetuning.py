"""``beit-mm finetune``: a classifier of one's own classes."""

import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..engine.starting.stages import Progress, Stage
from .choices import this_machine
from .classifier_runs import Asked, begin_run, finish_run, name_of, text_of
from .filling import config_of
from .lengths import check_dry_run, steps_asked
from .run_folder import RunFolder
from .starting_weights import start_of, values_of_weights
from .sweeping import hold_back, sweep_rates, table_of


def finetune(
    source: str | Path,
    weights: str | Path,
    out: str | Path | None = None,
    *,
    steps: int | None = None,
    minutes: float | None = None,
    size: int | None = None,
    multi_label: bool | str | None = None,
    bands: str | None = None,
    value_range: str | None = None,
    no_data: float | None = None,
    resume: bool = False,
    track: str | None = None,
    cfg_options: Mapping[str, Any] | None = None,
    dry_run: bool = False,
    sweep: Sequence[float] | None = None,
) -> Path:
    """Train a classifier, starting from pre-trained weights; or one for each of several rates.

    Args:
        source: A folder of images for each class; ``train`` and ``val`` with such folders; or a
            table, .csv or .tsv, with the columns path and label, and split if it says who is held
            out; or with a column of 0 and 1 for each class.
        weights: What ``beit_mm.load`` takes, or 'none' to start from scratch.
        out: Folder of the run; by default ``work_dirs/<name of the source>_finetune``.
        steps: Of the optimizer.
        minutes: For all of it, in place of ``steps``.
        size: Height and width of what the network sees; by default that of the weights.
        multi_label: Of a table, whether an image may have several labels, or what parts these in a
            cell, such as ','; without, the table tells.
        bands, value_range, no_data: See :func:`beit_mm.commands.how_to_read.how_to_read`; without,
            those of the weights.
        resume: Whether to go on with the run in ``out``.
        track: Where else the figures go, such as 'tensorboard'.
        cfg_options: Settings of the config, which win over all others. Of ``sweep`` not the rate,
            and not when a run is validated and saved.
        dry_run: Whether to print the config alone; not of ``minutes``, which a run measures, and
            not of ``sweep``.
        sweep: Learning rates, of which the best is looked for, in the place of a training on all
            images: see :func:`beit_mm.commands.sweeping.sweep_rates`. Without a number, a third of
            the rate that is taken without, this, and three times as much.

    Returns:
        The folder, with ``classifier.pth``, ``confusion.png``, ``predictions.csv`` of the images
        held out, and ``report.md`` in it. Where images have several labels, ``precision.png`` has
        the average precision of each in the place of ``confusion.png``. Of ``sweep``, by default
        ``work_dirs/<name of the source>_sweep``, with ``sweep.csv`` and ``sweep.json`` in it.

    Raises:
        ConfigError: If there are not two classes, or a choice of the user's cannot be.
        SystemExit: If training fails, with the end of its log.
    """
    start = time.monotonic()
    options = dict(cfg_options or {})
    steps = steps_asked(steps, minutes, options)
    check_dry_run(dry_run, resume, minutes, sweep)
    asked = Asked(str(weights), steps, minutes, size, multi_label, bands, value_range, no_data,
                  resume, options, track)  # fmt: skip
    begun_from = start_of(asked.weights)
    photos = asked.photos_of(source, begun_from)
    name, kind = name_of(source, photos), 'finetune' if sweep is None else 'sweep'
    run = RunFolder(out or Path('work_dirs', f'{name}_{kind}'), f'{kind}.py')
    machine = this_machine()
    if dry_run:
        own = values_of_weights(begun_from, photos, machine, size)
        text = text_of(run, photos, machine, own, steps or 1000)
        print(config_of(text, asked.options).pretty_text)
        return run.path
    if sweep is not None:
        swept = sweep_rates(run, hold_back(photos), begun_from, asked, sweep, start)
        print(f'\n{table_of(swept)}')
        again = f'beit-mm finetune {shlex.quote(str(source))} --weights {shlex.quote(str(weights))}'
        print(f'next:\n  train on all        {again} --steps {swept.steps} '
              f'--cfg-options optim_wrapper.optimizer.lr={swept.best:g}')  # fmt: skip
        return run.path
    photos = begin_run(run, photos, begun_from, asked, start)
    stage = Stage('Fine-tune', run.path / 'finetune.py', 1.0)
    run.train(stage, Progress([stage]), track, machine)
    print(finish_run(run, photos, start))
    return run.path
