"""The logs of a run, read line by line: figures, the machine, warnings, where it ended."""

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from .curve import Curve, GrowingCurve
from .json_reading import object_in

ENTRY = re.compile(r'(\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) - \S+ - (\w+) - (.*)')
OF_EPOCHS = re.compile(r'Epoch\(train\)\s*\[\s*(\d{1,15})\]\[\s*(\d{1,15})/(\d{1,15})\]')
OF_ITERATIONS = re.compile(r'Iter\(train\)\s*\[\s*(\d{1,15})/(\d{1,15})\]')
BROKEN = re.compile(r'Left out, and another drawn: (.*) \((\d{1,15}) of (\d{1,15}) photos so far\)')
SETTING = re.compile(r'    ([\w. ]+): (.*)')
# Of the environment, what says which machine and versions it was.
TOLD = ('sys.platform', 'Python', 'CUDA available', 'GPU 0', 'CUDA_HOME', 'NVCC', 'PyTorch',
        'TorchVision', 'OpenCV', 'MMEngine', 'seed',
        'Distributed launcher', 'GPU number')  # fmt: skip
FAST = 'What is fast on this machine:'
# What every run of OpenMMLab's stack warns of, and nobody can mend.
NOTHING_WRONG = ('"FileClient" will be', '"HardDiskBackend" is', '"LocalBackend" is',
                 'has no metainfo', 'is disabled')  # fmt: skip
MOST_KEPT = 200
# Neither a figure nor of any use in one's curve.
NO_FIGURES = ('iter', 'step', 'epoch')


@dataclass
class Told:
    """What the text logs of a run say.

    Attributes:
        machine: Versions and devices, as mmengine tells them.
        fast: Lines of what is fast on the machine.
        warnings: Text -> how often, in the order of their first time.
        broken: Image and reason of those that were skipped, the first ones.
        num_broken: Images that were skipped, of ``drawn``.
        drawn: Images that were drawn when the last of these was skipped.
        planned: Iterations that the run was to have; None if no line says so.
        an_epoch: Iterations that an epoch should have; None of a run that counts none.
        lengths: All that it was to have: of a run that went on with other images or devices, more.
        reached: The last iteration that a line says was done.
        begun: When the first line was written.
        ended: When the last was.
        starts: How often it was started.
    """

    machine: dict[str, str] = field(default_factory=dict)
    fast: list[str] = field(default_factory=list)
    warnings: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    num_broken: int = 0
    drawn: int = 0
    planned: int | None = None
    an_epoch: int | None = None
    lengths: set[int] = field(default_factory=set)
    reached: int = 0
    begun: datetime | None = None
    ended: datetime | None = None
    starts: int = 0


def read_logs(files: list[Path]) -> Told:
    """What the text logs of a run and of those that went on with it say, oldest first."""
    told = Told()
    for file in files:
        told.starts += 1
        with file.open(encoding='utf-8', errors='replace') as lines:
            _read_log(lines, told)
    return told


def _read_log(lines: Any, told: Told) -> None:
    listing: list[str] | None = None
    for line in lines:
        entry = ENTRY.match(line)
        if entry is None:
            setting = SETTING.match(line)
            if listing is not None and line.startswith('  '):
                listing.append(line.strip())
            elif setting and setting[1] in TOLD:
                told.machine[setting[1]] = setting[2].strip()
            continue
        when, level, text = entry.groups()
        told.begun = told.begun or _moment(when)
        told.ended = _moment(when) or told.ended
        listing = None
        if text.startswith(FAST):
            told.fast = listing = []
        elif '(train)' in text:
            _read_place(text, told)
        elif level in ('WARNING', 'ERROR', 'CRITICAL'):
            _read_warning(text.strip(), told)


def _moment(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, '%Y/%m/%d %H:%M:%S')
    except ValueError:
        return None


def _read_place(text: str, told: Told) -> None:
    if place := OF_ITERATIONS.search(text):
        told.reached, told.planned = int(place[1]), int(place[2])
    elif place := OF_EPOCHS.search(text):
        epoch, done, told.an_epoch = map(int, place.groups())
        told.lengths.add(told.an_epoch)
        told.reached = (epoch - 1) * told.an_epoch + done


def _read_warning(text: str, told: Told) -> None:
    if broken := BROKEN.search(text):
        told.num_broken, told.drawn = int(broken[2]), int(broken[3])
        if broken[1] not in told.broken and len(told.broken) < MOST_KEPT:
            told.broken.append(broken[1])
        return
    # A warning with a number in it may be there in many forms.
    new = text not in told.warnings and len(told.warnings) >= MOST_KEPT
    if not new and not any(words in text for words in NOTHING_WRONG):
        told.warnings[text] += 1


@dataclass
class Figures:
    """What a run has logged as numbers.

    Attributes:
        train: Name -> curve over iterations.
        val: The same, of validations.
        epochs: Epoch -> the first iteration that was logged in it.
    """

    train: dict[str, Curve]
    val: dict[str, Curve]
    epochs: dict[int, int]


def read_figures(files: list[Path]) -> Figures:
    """Figures of ``scalars.json`` of a run and of those that went on with it, oldest first."""
    train: dict[str, GrowingCurve] = {}
    val: dict[str, GrowingCurve] = {}
    epochs: dict[int, int] = {}
    here = 0
    for number, file in enumerate(files):
        begun = False
        for values in _entries(file):
            place = values.get('iter')
            of_training = isinstance(place, (int, float))
            if isinstance(place, (int, float)):
                if not math.isfinite(place):
                    continue
                if not begun:
                    for curve in [*train.values(), *val.values()]:
                        curve.forget_from(place)
                begun, here = True, int(place)
                if isinstance(epoch := values.get('epoch'), int):
                    epochs[epoch] = min(here, epochs.get(epoch, here))
            elif begun or not number:
                here = _later(here, values.get('step'))
            for name, value in values.items():
                if name not in NO_FIGURES and isinstance(value, (int, float)):
                    curves = train if of_training else val
                    curves.setdefault(name, GrowingCurve()).add(here, float(value))
    return Figures(
        {name: curve.done() for name, curve in train.items() if curve.steps},
        {name: curve.done() for name, curve in val.items() if curve.steps},
        epochs,
    )


def _later(here: int, step: Any) -> int:
    """The iteration of a validation: its step, unless that is an epoch, which is less."""
    known = isinstance(step, (int, float)) and math.isfinite(step)
    return max(here, int(step)) if known else here


def _entries(file: Path) -> Iterator[dict]:
    """The entries of a file, without lines that are none: one half written, as a kill leaves."""
    with file.open(encoding='utf-8', errors='replace') as lines:
        for line in lines:
            if (values := object_in(line)) is not None:
                yield values
