"""A start that fits one screen: of long entries the console has a line, and the file has all."""

import logging

from mmengine.device import get_device
from mmengine.model import revert_sync_batchnorm
from mmengine.runner import Runner
from torch import nn

# Lines of an entry that the console shows whole.
MOST_LINES = 8


class ShortFormatter(logging.Formatter):
    """What another formatter makes of an entry; of a long one its first line.

    Warnings are shown whole.

    Args:
        inner: The other.
        file: Where all of it is.
    """

    def __init__(self, inner: logging.Formatter, file: str) -> None:
        super().__init__()
        self.inner, self.file = inner, file

    def format(self, record: logging.LogRecord) -> str:
        """The text for the console."""
        text = self.inner.format(record)
        lines = text.splitlines()
        if record.levelno > logging.INFO or len(lines) <= MOST_LINES:
            return text
        # mmengine begins some entries with an empty line and a rule.
        said = [line for line in lines if line.strip(' -\n')][:2]
        first = said[0] if said[0].rstrip(' -').count(' ') > 5 else ' '.join(said)
        return f'{first} ... ({len(lines)} lines in {self.file})'


class ShortLogRunner(Runner):
    """mmengine's Runner, whose console says in a line what its log file says in hundreds.

    Several processes without GPUs train by it too.
    """

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Put DDP around the model; on CPUs each process has a batch norm of its own images.

        SyncBN, which MMSegmentation's necks have by default too, is for GPUs only. The Runner makes
        it batch norm itself where there is one process.
        """
        if self.distributed and get_device() == 'cpu':
            model = revert_sync_batchnorm(model)
        return super().wrap_model(model_wrapper_cfg, model)

    def _log_env(self, env_cfg: dict) -> None:
        files = [h.baseFilename for h in self.logger.handlers if isinstance(h, logging.FileHandler)]
        for handler in self.logger.handlers:
            if files and not isinstance(handler, logging.FileHandler) and handler.formatter:
                handler.setFormatter(ShortFormatter(handler.formatter, files[0]))
        super()._log_env(env_cfg)
