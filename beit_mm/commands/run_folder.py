"""The folder that a command writes: configs, logs, weights, pictures, a report."""

import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..checkpoints import read_checkpoint, take_tensors
from ..checkpoints.writing import partial_path, put_in_place, write_weights
from ..component import ConfigError
from ..engine.starting.run_length import follow_length
from ..engine.starting.stages import Progress, Stage, run_stage
from ..recipes import folder_of_tools
from .choices import Machine
from .filling import config_of

# Configs that the commands write.
MARKERS = ('pretrain.py', 'finetune.py', 'segment.py')


class RunFolder:
    """A folder of a command's making.

    Args:
        path: It need not be there.
        marker: The config that such a command writes into it, such as 'pretrain.py'.
    """

    def __init__(self, path: str | Path, marker: str) -> None:
        self.path = Path(path).expanduser().resolve()
        self.marker = self.path / marker

    @property
    def quoted(self) -> str:
        """Its path as one types it in a shell."""
        return shlex.quote(str(self.path))

    def begin(self, resume: bool) -> bool:
        """Make the folder; whether it holds a run to go on with.

        Raises:
            ConfigError: If it holds a run and this one does not resume, or is a file.
        """
        if self.path.exists() and not self.path.is_dir():
            raise ConfigError(f'--out is {self.path}, which is a file; choose another')
        others = [name for name in MARKERS if name != self.marker.name]
        if other := next((name for name in others if (self.path / name).is_file()), None):
            raise ConfigError(
                f'--out is {self.path}, which is of a beit-mm {Path(other).stem}; choose another'
            )
        begun = any(self.path.glob('*/last_checkpoint')) or any(self.path.glob('*.pth'))
        if begun and not resume:
            raise ConfigError(
                f'{self.path} holds a run already: add --resume to go on with it, or choose '
                'another --out'
            )
        begun = begun and self.marker.is_file()
        if resume and not begun:
            print(f'{self.path} holds no run yet: it begins')
        self.path.mkdir(parents=True, exist_ok=True)
        return begun

    def known(self, options: Mapping[str, Any], **given: Any) -> Config:
        """The config of a run that is gone on with, with the user's options put into its file.

        Args:
            options: Settings that win from now on.
            given: Of the command, what would make another run of it.

        Raises:
            ConfigError: If there is any of that, or an option cannot be.
        """
        if wrong := [f'--{name}' for name, value in given.items() if value is not None]:
            raise ConfigError(
                f'{" and ".join(wrong)} cannot be changed by --resume: what {self.marker} says '
                'holds; leave it out, or begin another run in another --out'
            )
        cfg = Config.fromfile(self.marker)
        if options:
            changed = config_of(cfg.pretty_text, options)
            follow_length(changed, cfg.train_cfg, options)
            self.marker.write_text(changed.pretty_text, 'utf-8')
        return cfg

    def write(self, name: str, text: str) -> Path:
        """Write a file of it."""
        path = self.path / name
        path.write_text(text, encoding='utf-8')
        return path

    def lines_of(self, name: str) -> list[str]:
        """The lines of a file of it."""
        return (self.path / name).read_text(encoding='utf-8').splitlines()

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
        arguments = [*amp, *resumed]
        if track is not None:
            arguments += ['--track', track]
        return run_stage(
            stage, folder_of_tools() / 'train.py', work_dir, {}, progress,
            machine.environment, arguments, machine.processes,
        )  # fmt: skip


def write_bare_weights(checkpoint: Path, target: Path) -> None:
    """The weights of a checkpoint, without the optimizer's state and what else resuming takes."""
    write_weights(target, take_tensors(read_checkpoint(checkpoint)), 'beit_mm')


def copy_whole(source: Path, target: Path) -> None:
    """Copy a file; the target is there as a whole or not at all."""
    shutil.copy(source, partial_path(target))
    put_in_place(target)


def best_checkpoint(work_dir: Path) -> Path:
    """The best one by the metric that the run kept the best by; else its last."""
    best = sorted(work_dir.glob('best_*.pth'), key=lambda path: path.stat().st_mtime)
    return best[-1] if best else Path((work_dir / 'last_checkpoint').read_text().strip())
