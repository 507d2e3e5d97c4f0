"""Count photos that could not be decoded, in all processes, and stop where they are too many."""

import itertools

from mmengine.dist import all_gather_object, all_reduce
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import tensor

from ...registry import HOOKS
from .run_stopped import RunStopped


@HOOKS.register_module()
class BrokenImagesHook(Hook):
    """Log each photo that another has taken the place of; stop where they are too many.

    Args:
        max_share: Of the photos drawn, or of the whole dataset until that many have been drawn,
            how many may be broken.

    Raises:
        RunStopped: In all processes after the same iteration, if there are more.
    """

    # Before the checkpoint, which holds the count.
    priority = 'BELOW_NORMAL'

    def __init__(self, max_share: float = 0.01) -> None:
        if not 0 <= max_share <= 1:
            raise ValueError(f'max_share is {max_share}; it must be 0 to 1')
        self.max_share = max_share

    def before_train(self, runner: Runner) -> None:
        """Go on counting where a resumed run was."""
        counts = runner.message_hub.runtime_info.get('broken_images', dict(broken=0, drawn=0))
        self.broken, self.drawn = counts['broken'], counts['drawn']

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None):
        """Count the batches of all processes."""
        samples = data_batch.get('data_samples') if isinstance(data_batch, dict) else None
        # Other tasks' batches, which have no notes, are no part of the count.
        if not isinstance(samples, (list, tuple)):
            samples = []
        found = [pair for sample in samples for pair in getattr(sample, 'broken_images', ())]
        counts = tensor([len(found), len(samples)])
        all_reduce(counts)
        self.drawn += int(counts[1])
        if counts[0]:
            for path, reason in itertools.chain(*all_gather_object(found)):
                self.broken += 1
                runner.logger.warning(
                    f'Left out, and another drawn: {path}: {reason} '
                    f'({self.broken} of {self.drawn} photos so far)'
                )
        runner.message_hub.update_info('broken_images', dict(broken=self.broken, drawn=self.drawn))
        if counts[0] and self.broken > self.max_share * self._at_least_a_pass(runner):
            raise RunStopped(
                f'{self.broken} of {self.drawn} photos drawn could not be decoded, more than '
                f"max_share of BrokenImagesHook, {self.max_share:g}, of the dataset's "
                f'{len(runner.train_dataloader.dataset)}; the log names them. '
                'beit-mm check FOLDER LIST finds them all; PhotoFolder leaves out what is in '
                'LIST (train_dataloader.dataset.exclude=LIST)'
            )

    def _at_least_a_pass(self, runner: Runner) -> int:
        return max(self.drawn, len(runner.train_dataloader.dataset))
