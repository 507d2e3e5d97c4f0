"""How long a run lasts: steps, or minutes of this machine."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..component import ConfigError
from ..engine.starting.stages import minutes as as_minutes
from .choices import Machine, choose_steps
from .photos import Photos
from .timing import seconds_a_step, seconds_an_image

# Seconds that a stage needs before its first step and after its last; and the pictures at the end.
AROUND_A_STAGE, AFTERWARDS = 9, 8
# The setting of a config that says how long.
LENGTH = 'train_cfg.max_iters'
# With fewer steps nothing is learned.
LEAST_STEPS = 20


def steps_asked(steps: int | None, minutes: float | None, options: Mapping[str, Any]) -> int | None:
    """Steps that the user wants, by ``--steps`` or as a setting of the config; None if not said.

    Raises:
        ConfigError: If the length is said twice, or is not above zero.
    """
    said = {'--steps': steps, '--minutes': minutes, LENGTH: options.get(LENGTH)}
    given = {name: value for name, value in said.items() if value is not None}
    if len(given) > 1:
        raise ConfigError(f'{" and ".join(given)} are both given; one of them says how long')
    for name, value in given.items():
        kinds = (int, float) if name == '--minutes' else int
        if not isinstance(value, kinds) or value <= 0:
            wanted = 'number' if name == '--minutes' else 'whole number'
            raise ConfigError(f'{name} is {value}; it must be a {wanted} above 0')
    return steps if steps is not None else options.get(LENGTH)


def check_dry_run(
    dry_run: bool, resume: bool, minutes: float | None, sweep: Sequence[float] | None = None
) -> None:
    """Hold a dry run against what one config without a run does not show.

    Raises:
        ConfigError: If there is any of that.
    """
    said = {
        '--resume': (resume, 'the config of a run is in --out'),
        '--minutes': (minutes is not None, 'a run measures how many steps fit; --steps says it'),
        '--sweep': (sweep is not None, 'a sweep writes the config of each rate'),
    }
    for name, (given, why) in said.items():
        if dry_run and given:
            raise ConfigError(f'--dry-run and {name} are both given; {why}')


def check_same_folder(known: str, given: str | Path) -> None:
    """Hold the images of a run that is gone on with against those that are given.

    Raises:
        ConfigError: If they lie elsewhere.
    """
    # A store's address is no path, but as a path it differs from all others too.
    if Path(known).resolve() != Path(given).resolve():
        raise ConfigError(
            f'the run in --out learns from {known}, and {given} is given: begin another run in '
            'another --out'
        )


def as_epochs(epochs: float) -> str:
    """As a person reads it; part of an epoch is more than none.

    >>> as_epochs(0.1228), as_epochs(7.6)
    ('0.1', '8')
    """
    return f'{epochs:.0f}' if epochs >= 0.95 else f'{epochs:.1g}'


def with_length(options: Mapping[str, Any], steps: int | None) -> dict[str, Any]:
    """Options of a run that is gone on with, and its new length, over which its rates go down."""
    if steps is None:
        return dict(options)
    return {LENGTH: steps, **options}


def seconds_left(minutes: float, start: float, around: float, least: float) -> float:
    """Seconds for steps in a run of so many minutes.

    Args:
        minutes: Of the whole run.
        start: When it began, by ``time.monotonic``.
        around: Seconds for all but the steps.
        least: Seconds that the steps need.

    Raises:
        ConfigError: If it is too short.
    """
    left = 60 * minutes - (time.monotonic() - start) - around
    if left < least:
        needed = 60 * minutes - left + least
        raise ConfigError(
            f'--minutes is {minutes:g}; to start and to make {LEAST_STEPS} steps takes '
            f'{as_minutes(needed)} here'
        )
    return left


def choose_length(
    cfg: Config,
    photos: Photos,
    machine: Machine,
    steps: int | None,
    minutes: float | None,
    start: float,
    epochs: int,
) -> int:
    """Steps of a run with labels, by a few of them; tells the user.

    Args:
        cfg: Of the run.
        photos: It learns from.
        machine: It runs on.
        steps: If the user says so.
        minutes: If the user says so, in the place of steps.
        start: When the run began, by ``time.monotonic``.
        epochs: Where nobody says so.
    """
    a_step = seconds_a_step(cfg, machine)
    batch = cfg.train_dataloader.batch_size * machine.processes
    # All are validated four times, and some or all once more for the report.
    validating = 5 * len(photos.val) * seconds_an_image(cfg, machine) / machine.processes
    around = AROUND_A_STAGE + AFTERWARDS + validating
    if minutes is not None:
        steps = int(seconds_left(minutes, start, around, LEAST_STEPS * a_step) / a_step)
    steps = steps or choose_steps(len(photos.train), batch, a_step, machine, epochs)
    size = cfg.model.backbone.img_size
    print(f'{size} x {size} pixels, batches of {batch}, {steps} steps '
          f'({as_epochs(steps * batch / len(photos.train))} epochs), about '
          f'{as_minutes(steps * a_step + around)} (--steps, --minutes)')  # fmt: skip
    return steps
