"""The folder that a command writes: configs, logs, weights, pictures, a report."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..checkpoints import read_checkpoint, take_tensors
from ..checkpoints.writing import write_weights
from ..component import ConfigError
from ..engine.starting.stages import Progress, Stage, run_stage
from ..recipes import folder_of_tools
from .choices import Machine


class RunFolder:
    """A folder of a command's making.

    Args:
        path: It need not be there.
        marker: The config that such a command writes into it, such as 'pretrain.py'.
    """

    def __init__(self, path: str | Path, marker: str) -> None:
        self.path = Path(path).expanduser().resolve()
        self.marker = self.path / marker

    def begin(self, resume: bool) -> bool:
        """Make the folder; whether it holds a run to go on with.

        Raises:
            ConfigError: If it holds a run and this one does not resume, or is a file.
        """
        if self.path.exists() and not self.path.is_dir():
            raise ConfigError(f'--out is {self.path}, which is a file; choose another')
        if self.marker.is_file() and not resume:
            raise ConfigError(
                f'{self.path} holds a run already: add --resume to go on with it, or choose '
                'another --out'
            )
        if resume and not self.marker.is_file():
            print(f'{self.path} holds no run yet: it begins')
        self.path.mkdir(parents=True, exist_ok=True)
        return self.marker.is_file()

    def write(self, name: str, text: str) -> Path:
        """Write a file of it."""
        path = self.path / name
        path.write_text(text, encoding='utf-8')
        return path

    def train(
        self,
        stage: Stage,
        progress: Progress,
        options: Mapping[str, Any],
        track: str | None,
        machine: Machine,
    ) -> Path:
        """Run a stage, or go on with it; return its newest checkpoint."""
        work_dir = self.path / stage.config.stem
        arguments = ['--resume'] if (work_dir / 'last_checkpoint').is_file() else []
        if track is not None:
            arguments += ['--track', track]
        return run_stage(
            stage, folder_of_tools() / 'train.py', work_dir, options, progress,
            machine.environment, arguments, machine.processes,
        )  # fmt: skip


def write_bare_weights(checkpoint: Path, target: Path) -> None:
    """The weights of a checkpoint, without the optimizer's state and what else resuming takes."""
    write_weights(target, take_tensors(read_checkpoint(checkpoint)), 'beit_mm')


def best_checkpoint(work_dir: Path) -> Path:
    """The best one by the metric that the run kept the best by; else its last."""
    best = sorted(work_dir.glob('best_*.pth'), key=lambda path: path.stat().st_mtime)
    return best[-1] if best else Path((work_dir / 'last_checkpoint').read_text().strip())
