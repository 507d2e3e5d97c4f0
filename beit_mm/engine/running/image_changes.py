"""Count images whose meaning reading has changed, and say so once a kind."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from mmengine.dist import all_gather_object, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ...checkpoints.writing import write_whole
from ...registry import HOOKS

# In the work directory, for who has not seen the log.
FILE = 'image_changes.json'


@HOOKS.register_module()
class ImageChangesHook(Hook):
    """Say what is lost or made up of images while they are read: bands, depth, transparency.

    ``data_samples`` tell it by ``image_changes``, see :class:`beit_mm.datasets.SeededDataset`. The
    log has a line on the first image of each kind, and when training ends the number of all since
    it began or was resumed, which ``image_changes.json`` in the work directory keeps.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.drawn = 0

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Count a batch."""
        self._count(runner, data_batch)

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Count a batch."""
        self._count(runner, data_batch)

    def _count(self, runner: Runner, data_batch: Any) -> None:
        samples = data_batch.get('data_samples') if isinstance(data_batch, dict) else None
        # Other tasks' batches have no notes.
        for sample in samples if isinstance(samples, (list, tuple)) else ():
            self.drawn += 1
            for change in set(getattr(sample, 'image_changes', ())):
                if change not in self.counts:
                    path = getattr(sample, 'img_path', 'an image')
                    runner.logger.warning(f'Changed as images are read: {change}; first {path}')
                self.counts[change] += 1

    def after_train(self, runner: Runner) -> None:
        """Say how many there were, in all processes."""
        parts = all_gather_object((self.counts, self.drawn))
        counts = Counter[str]()
        for part, _ in parts:
            counts.update(part)
        drawn = sum(number for _, number in parts)
        for change, count in counts.most_common():
            runner.logger.warning(f'Changed as images were read: {change}, {count} of {drawn}')
        if counts and is_main_process():
            told = dict(images=drawn, changes=dict(counts.most_common()))
            write_whole(Path(runner.work_dir, FILE), json.dumps(told, indent=1).encode())
