"""The folder that a command writes: configs, logs, weights, pictures, a report."""

import math
import shlex
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..checkpoints import read_checkpoint, take_tensors, told_of_network
from ..checkpoints.writing import partial_path, put_in_place, write_weights, write_whole
from ..component import ConfigError
from ..datasets.reading.choosing import TO_MEASURE
from ..engine.running.whole_checkpoints import last_checkpoint
from ..engine.starting.measured_ranges import repeat_ranges
from ..engine.starting.stages import Progress, Stage, changes_of_images, run_stage
from ..models.sizes import resolve_arch
from ..recipes import folder_of_tools
from .choices import Machine
from .filling import config_of
from .how_to_read import HowToRead, parse_bands, parse_range
from .moved_runs import found_anew

# Configs that the commands write -> what they write beside them; and what all of them do.
MARKERS = {
    'pretrain.py': ('tokenizer.py', 'tokenizer', 'pretrain', 'reconstructions.png',
                    'neighbours.png', 'features.npz'),
    'finetune.py': ('train.json', 'val.json', 'finetune', 'confusion.png', 'precision.png',
                    'predictions.csv'),
    'segment.py': ('annotations.txt', 'segment', 'segmentations.png'),
    'sweep.py': ('train.json', 'val.json', 'sweep.csv', 'sweep.json'),
}  # fmt: skip
OF_ALL = ('train.txt', 'val.txt', 'curves.png', 'report.json', 'report.md')
# What says that runs have saved something; those of a sweep lie in folders of their own.
SAVED = ('*/last_checkpoint', '*.pth', 'rate_*/*/last_checkpoint', 'rate_*/*.pth')


class RunFolder:
    """A folder of a command's making.

    Args:
        path: It need not be there.
        marker: The config that such a command writes into it, such as 'pretrain.py'.
    """

    def __init__(self, path: str | Path, marker: str) -> None:
        self.path = Path(path).expanduser().resolve()
        self.marker = self.path / marker
        self.written: list[Path] = []

    @property
    def quoted(self) -> str:
        """Its path as one types it in a shell."""
        return shlex.quote(str(self.path))

    @property
    def begun(self) -> bool:
        """Whether it holds a run that can be gone on with."""
        return self.marker.is_file() and self._has_saved()

    def _has_saved(self) -> bool:
        return any(any(self.path.glob(pattern)) for pattern in SAVED)

    def begin(self, resume: bool) -> bool:
        """Whether the folder holds a run to go on with.

        Raises:
            ConfigError: If it holds a run and this one does not resume, or what is no run's and
                would be overwritten, or is a file.
        """
        if self.path.exists() and not self.path.is_dir():
            raise ConfigError(f'--out is {self.path}, which is a file; choose another')
        others = [name for name in MARKERS if name != self.marker.name]
        if other := next((name for name in others if (self.path / name).is_file()), None):
            raise ConfigError(
                f'--out is {self.path}, which is of a beit-mm {Path(other).stem}; choose another'
            )
        if self._has_saved() and not resume:
            raise ConfigError(
                f'{self.path} holds a run already: add --resume to go on with it, or choose '
                'another --out'
            )
        if not self.begun and not self._is_own():
            self.check_free(self.marker.name, *OF_ALL, *MARKERS[self.marker.name])
        if resume and not self.begun:
            print(f'{self.path} holds no run yet: it begins')
        if self.begun:
            self._come_home()
        return self.begun

    def _come_home(self) -> None:
        """Let configs of a folder that was moved or copied name what lies in it now."""
        of_stages = (self.path / 'tokenizer.py', *self.path.glob('rate_*/finetune.py'))
        for path in (self.marker, *of_stages):
            if path.is_file() and (cfg := found_anew(Config.fromfile(path), path)):
                print(f'{path}: its folder was moved; lists and files are taken from where it is')
                self.write(str(path.relative_to(self.path)), cfg.pretty_text)

    def _is_own(self) -> bool:
        """Whether a start of this command has left its config; a script may be called so too."""
        if not self.marker.is_file():
            return False
        return str(self.path / 'train.') in self.marker.read_text('utf-8', errors='replace')

    def check_free(self, *names: str) -> None:
        """Hold what is to be written against what is there.

        Raises:
            ConfigError: If it would be overwritten.
        """
        if there := [name for name in names if (self.path / name).exists()]:
            raise ConfigError(
                f'--out is {self.path}, which holds {" and ".join(there)} of no beit-mm run, which '
                'would be overwritten; choose another'
            )

    @contextmanager
    def removed_if_refused(self) -> Iterator[None]:
        """Take back what is written here if the run is refused before it trains."""
        made = not self.path.exists()
        self.path.mkdir(parents=True, exist_ok=True)
        self.written.clear()
        try:
            # First: a start that is killed leaves a folder that is known for the command's own.
            if not self.marker.exists():
                self.write(self.marker.name, f'train_list = {str(self.path / "train.txt")!r}\n')
            yield
        except BaseException:
            for path in self.written:
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
            if made and not any(self.path.iterdir()):
                self.path.rmdir()
            raise

    def note(self, path: Path) -> None:
        """Note what is about to be written; what is there already stays if the run is refused."""
        if not path.exists():
            self.written.append(path)

    def known(self, **given: Any) -> Config:
        """The config of a run that is gone on with.

        Args:
            given: Of the command, what would make another run of it where the config does not say
                the same.

        Raises:
            ConfigError: If there is any of that.
        """
        cfg = Config.fromfile(self.marker)
        minutes = given.pop('minutes', None)
        if wrong := [
            f'--{name.replace("_", "-")}'
            for name, value in given.items()
            if value is not None and not _says(cfg, name, value)
        ]:
            raise ConfigError(
                f'{" and ".join(wrong)} cannot be changed by --resume: what {self.marker} says '
                'holds; leave it out, or begin another run in another --out'
            )
        if minutes is not None:
            print(
                '--minutes is of a run that begins: this one keeps its steps; --steps is for more'
            )
        return cfg

    def change(self, options: Mapping[str, Any]) -> None:
        """Put the user's options into the config of a run that is gone on with.

        Raises:
            ConfigError: If one cannot be.
        """
        if options:
            text = Config.fromfile(self.marker).pretty_text
            self.write(self.marker.name, config_of(text, options).pretty_text)

    def write(self, name: str, text: str) -> None:
        """Write a file of it, which is there as a whole or not at all."""
        self.note(self.path / name)
        write_whole(self.path / name, text.encode())

    def lines_of(self, name: str) -> list[str]:
        """The lines of a file of it."""
        return (self.path / name).read_text(encoding='utf-8').splitlines()

    def forget_figures(self, stage: str) -> None:
        """Remove the figures of starts of a stage that have saved nothing to go on with."""
        for logs in self.path.glob(f'{stage}/*/vis_data'):
            shutil.rmtree(logs)

    def train(
        self,
        stage: Stage,
        progress: Progress,
        track: str | None,
        machine: Machine,
    ) -> Path:
        """Run a stage, or go on with it; return its newest checkpoint."""
        work_dir = self.path / stage.config.stem
        # The sizes of batches are chosen for it.
        amp = ['--amp'] if machine.gpus else []
        resumed = ['--resume'] if (work_dir / 'last_checkpoint').is_file() else []
        if not resumed:
            self.forget_figures(stage.config.stem)
        arguments = [*amp, *resumed]
        if track is not None:
            arguments += ['--track', track]
        checkpoint = run_stage(
            stage, folder_of_tools() / 'train.py', work_dir, {}, progress,
            machine.environment, arguments, machine.processes,
        )  # fmt: skip
        for line in changes_of_images(work_dir):
            print(line)
        # What goes on with the weights reads images as the run has, which may have measured them.
        cfg = Config.fromfile(stage.config)
        if repeat_ranges(cfg, work_dir):
            self.write(stage.config.name, cfg.pretty_text)
        return checkpoint


def _says(cfg: Config, option: str, value: Any) -> bool:
    """Whether a run was begun with such a value, as far as its config tells."""
    if option == 'size':
        return value == cfg.image_size
    if option == 'bands':
        return parse_bands(value) == cfg.get('bands')
    if option == 'method':
        return (value == 'mae') == ('decoder' in cfg)
    if option == 'no_data' and not math.isfinite(value):
        value = None
    if option == 'value_range':
        asked, known = parse_range(value), cfg.get('value_range')
        # What was measured is written in numbers, for each type of pixels.
        return isinstance(known, Mapping) if asked in TO_MEASURE else asked == known
    return value == cfg.get(option)


def write_bare_weights(checkpoint: Path, target: Path, config: Path) -> None:
    """The weights of a checkpoint, without the optimizer's state and what else resuming takes.

    Args:
        checkpoint: Of a training.
        target: File to write; it says how images are read, how many heads there are, and whether
            MAE's pixels are normalised, for who goes on with the weights.
        config: Of the training.
    """
    cfg = Config.fromfile(config).to_dict()
    images = {name: cfg.get(name) for name in HowToRead._fields}
    about = dict(
        images={name: value for name, value in images.items() if value is not None},
        **told_of_network(cfg['model']),
    )
    # A size with a name has its heads with it.
    about['num_heads'] = resolve_arch(cfg['model']['backbone']['arch'])['num_heads']
    write_weights(target, take_tensors(read_checkpoint(checkpoint)), 'beit_mm', about)


def copy_whole(source: Path, target: Path) -> None:
    """Copy a file; the target is there as a whole or not at all."""
    shutil.copy(source, partial_path(target))
    put_in_place(target)


def best_checkpoint(work_dir: Path) -> Path:
    """The best one by the metric that the run kept the best by; else its last."""
    best = sorted(work_dir.glob('best_*.pth'), key=lambda path: path.stat().st_mtime)
    return best[-1] if best else last_checkpoint(work_dir)
