"""A work directory as a plain record: what ran, on what, how it went, what lies there."""

import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..component import ConfigError
from ..config_text import settings_in_text
from ..recipes import folder_of_recipes
from .curve import Curve
from .json_reading import object_of
from .log_reading import Figures, Told, read_figures, read_logs
from .written_config import Recipe, recipe_of, settings_of

# Folders below a work directory in which stages are looked for, and how many in one folder.
DEPTH = 4
NUMBERED = re.compile(r'(?:iter|epoch)_\d+\.pth')
PICTURES = ('.png', '.jpg', '.jpeg')


@dataclass
class StageRecord:
    """A training: one config, started once or gone on with several times.

    Attributes:
        name: Path below the work directory; '' where that is the stage.
        path: Its folder.
        train: Figure -> curve over iterations.
        val: The same, of validations.
        told: What its text logs say.
        epochs: Epoch -> the first iteration logged in it.
        config: As it ran, without what is no literal; empty if none was written.
        config_text: The same as text.
        recipe: What it came from, None where nobody can tell.
        left_out: Reports of steps that were not finite, oldest first.
        image_changes: What reading has changed, kind -> images, and 'images' drawn in all.
        checkpoints: Names of its files of weights.
    """

    name: str
    path: Path
    train: dict[str, Curve]
    val: dict[str, Curve]
    told: Told
    epochs: dict[int, int] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    config_text: str = ''
    recipe: Recipe | None = None
    left_out: list[dict] = field(default_factory=list)
    image_changes: dict[str, int] = field(default_factory=dict)
    checkpoints: list[str] = field(default_factory=list)

    def setting(self, key: str, default: Any = None) -> Any:
        """A setting of its config by its dotted key."""
        value: Any = self.config
        for part in key.split('.'):
            if isinstance(value, (list, tuple)) and part.isdigit() and int(part) < len(value):
                value = value[int(part)]
            elif isinstance(value, dict) and part in value:
                value = value[part]
            else:
                return default
        return value

    def count(self, key: str) -> int | None:
        """A setting that is a whole number from 1 on; None of any other, or none."""
        value = self.setting(key)
        return value if isinstance(value, int) and value >= 1 else None

    def amount(self, key: str) -> float | None:
        """A setting that is a number above 0; None of any other, or none."""
        value = self.setting(key)
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return value if is_number and 0 < value < math.inf else None

    def parts(self, key: str) -> list[dict]:
        """The dicts of a setting that is a list of such, or one."""
        value = self.setting(key)
        return [p for p in (value if isinstance(value, list) else [value]) if isinstance(p, dict)]

    @property
    def planned(self) -> int | None:
        """Iterations that it was to have; None if neither log nor config says so."""
        if self.told.planned is not None:
            return self.told.planned
        epochs = self.count('train_cfg.max_epochs')
        if self.told.an_epoch is not None and epochs is not None:
            return epochs * self.told.an_epoch
        return self.count('train_cfg.max_iters')

    @property
    def last_checkpoint(self) -> str | None:
        """The newest of its numbered checkpoints."""
        numbered = [name for name in self.checkpoints if NUMBERED.fullmatch(name)]
        return max(numbered, key=_number_of, default=None)

    @property
    def reached(self) -> int:
        """The last iteration that a log or a checkpoint tells of."""
        saved, an_epoch = self.last_checkpoint, self.told.an_epoch or 0
        by_file = _number_of(saved) if saved else 0
        return max(
            self.told.reached,
            *(int(curve.steps[-1]) for curve in self.train.values()),
            by_file if (saved or '').startswith('iter_') else by_file * an_epoch,
        )

    @property
    def images_a_step(self) -> int | None:
        """Images of an iteration, of all processes."""
        batch = self.count('train_dataloader.batch_size')
        processes = self.told.machine.get('GPU number', '1')
        if batch is None or not processes.isdecimal():
            return None
        return batch * max(1, int(processes))


@dataclass
class RunRecord:
    """A work directory.

    Attributes:
        name: For a reader, another than those of the runs beside it.
        path: The folder.
        stages: In the order in which they ran.
        pictures: Files, those of a folder in the order of their names.
        outcome: What ``report.json`` says; empty if there is none.
    """

    name: str
    path: Path
    stages: list[StageRecord]
    pictures: list[Path]
    outcome: dict[str, Any]


def _number_of(checkpoint: str) -> int:
    return int(checkpoint.rpartition('_')[2].removesuffix('.pth'))


def read_run(work_dir: str | Path, name: str | None = None) -> RunRecord:
    """Read the folder of a run: of ``beit-mm``, of ``tools/train.py`` or of the quickstart.

    Args:
        work_dir: The folder.
        name: For a reader; None for the folder's own.

    Raises:
        ConfigError: If there is no such folder, or no run has written a log into it.
    """
    path = Path(work_dir).expanduser().resolve()
    if not path.is_dir():
        raise ConfigError(f'{work_dir}: there is no such folder')
    folders = list(_stage_folders(path))
    if not folders:
        raise ConfigError(
            f'{work_dir} holds no log of a run: neither TIME/vis_data nor TIME/TIME.log, in it or '
            'in the folders inside'
        )
    stages = [_read_stage(folder, path) for folder in folders]
    stages.sort(key=lambda stage: str(stage.told.begun or ''))
    for stage in stages:
        stage.name = _without_time(stage.name)
    return RunRecord(
        name or path.name, path, stages, _pictures(path, folders), object_of(path / 'report.json')
    )


def _stage_folders(path: Path, depth: int = DEPTH) -> Iterator[Path]:
    """Folders of which a folder inside bears a run's log."""
    try:
        inside = sorted(Path(entry.path) for entry in os.scandir(path) if entry.is_dir())
    except OSError:
        return
    runs = [folder for folder in inside if _is_of_a_start(folder)]
    if runs:
        yield path
    for folder in inside:
        if folder not in runs and depth > 1:
            yield from _stage_folders(folder, depth - 1)


def _is_of_a_start(folder: Path) -> bool:
    return (folder / 'vis_data').is_dir() or (folder / f'{folder.name}.log').is_file()


def _without_time(name: str) -> str:
    """Of the quickstart, whose stages lie in a folder named after the time.

    >>> _without_time('20261127_152637/dvae'), _without_time('pretrain')
    ('dvae', 'pretrain')
    """
    first, _, rest = name.partition('/')
    return rest if rest and first.replace('_', '').isdigit() else name


def _read_stage(folder: Path, work_dir: Path) -> StageRecord:
    starts = sorted(inside for inside in folder.iterdir() if _is_of_a_start(inside))
    logs = [log for start in starts if (log := start / f'{start.name}.log').is_file()]
    scalars = [file for s in starts if (file := s / 'vis_data' / 'scalars.json').is_file()]
    figures: Figures = read_figures(scalars)
    name = folder.relative_to(work_dir).as_posix()
    stage = StageRecord(
        '' if name == '.' else name, folder, figures.train, figures.val, read_logs(logs),
        figures.epochs,
    )  # fmt: skip
    _read_config(stage, starts)
    reports = sorted((folder / 'non_finite').glob('iter_*.json'), key=_in_order)
    left_out = [object_of(file) for file in reports]
    stage.left_out = [report for report in left_out if isinstance(report.get('iteration'), int)]
    changes = object_of(folder / 'image_changes.json').get('changes')
    stage.image_changes = changes if isinstance(changes, dict) else {}
    stage.checkpoints = sorted(file.name for file in folder.glob('*.pth'))
    return stage


def _read_config(stage: StageRecord, starts: list[Path]) -> None:
    written = [file for start in starts if (file := start / 'vis_data' / 'config.py').is_file()]
    if not written:
        return
    stage.config_text = written[-1].read_text(encoding='utf-8', errors='replace')
    try:
        stage.config = settings_in_text(stage.config_text)
    except SyntaxError:
        # Of a run that was killed while it wrote, or something that no run has written.
        return
    dumped = [file.stem for file in stage.path.glob('*.py')]
    stem = dumped[0] if len(dumped) == 1 else stage.path.name
    stage.recipe = recipe_of(stage.config, stem, _recipe, folder_of_recipes())


_RECIPES: dict[Path, dict[str, Any]] = {}


def _recipe(path: Path) -> dict[str, Any]:
    if path not in _RECIPES:
        _RECIPES[path] = settings_of(Config.fromfile(path).to_dict())
    return _RECIPES[path]


def _in_order(file: Path) -> tuple[int, str]:
    """Of numbers in names: 9 before 10."""
    return len(file.name), file.name


def _pictures(path: Path, folders: list[Path]) -> list[Path]:
    found = []
    for folder in dict.fromkeys([path, *folders]):
        found += sorted(file for file in folder.iterdir() if file.suffix.lower() in PICTURES)
        found += sorted(
            folder.glob('*/vis_data/vis_image/*.png'),
            key=lambda file: (file.parents[2].name, *_in_order(file)),
        )
    return found
