"""Trackers of runs: mmengine's backends, where theirs stumble over this project's runs."""

import logging
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.visualization import MLflowVisBackend as MMEngineMLflowVisBackend
from mmengine.visualization import WandbVisBackend as MMEngineWandbVisBackend
from mmengine.visualization.vis_backend import force_init_env

from ...registry import VISBACKENDS

# What MLflow does not take in a name.
NOT_IN_A_NAME = re.compile(r'[^\w\-. /:]')


@VISBACKENDS.register_module()
class WandbVisBackend(MMEngineWandbVisBackend):
    """Weights & Biases: figures and pictures by iteration, and no copy of the folder's code.

    mmengine counts calls in place of iterations, and uploads every Python file below the current
    folder, of a virtual environment in it too.
    """

    def _init_env(self) -> None:
        super()._init_env()
        self._wandb.define_metric('*', step_metric='iter')

    @force_init_env
    def add_config(self, config: Config, **kwargs: Any) -> None:
        """Record the config."""
        self._wandb.config.update(_with_text_keys(config.to_dict()), allow_val_change=True)

    @force_init_env
    def add_image(self, name: str, image: np.ndarray, step: int = 0, **kwargs: Any) -> None:
        """Record an image, (H, W, 3) uint8."""
        self._wandb.log({name: self._wandb.Image(image), 'iter': step}, commit=self._commit)

    @force_init_env
    def add_scalar(self, name: str, value: Any, step: int = 0, **kwargs: Any) -> None:
        """Record a figure."""
        self.add_scalars({name: value}, step)

    @force_init_env
    def add_scalars(
        self, scalar_dict: dict, step: int = 0, file_path: str | None = None, **kwargs: Any
    ) -> None:
        """Record figures."""
        super().add_scalars({'iter': step, **scalar_dict})


@VISBACKENDS.register_module()
class MLflowVisBackend(MMEngineMLflowVisBackend):
    """MLflow, with pictures, and with configs whose keys are no words.

    mmengine gives pictures a name without the ending that MLflow asks for, and the same one in
    every iteration; keys that are numbers, or have other signs, end the run.
    """

    def _init_env(self) -> None:
        # mmengine asks for a server wherever the place of the store is given.
        logger = MMLogger.get_current_instance()
        logger.addFilter(_says_nothing_of_servers)
        try:
            super()._init_env()
        finally:
            logger.removeFilter(_says_nothing_of_servers)

    @force_init_env
    def add_image(self, name: str, image: np.ndarray, step: int = 0, **kwargs: Any) -> None:
        """Record an image, (H, W, 3) uint8, as ``NAME_STEP.png``."""
        super().add_image(f'{name}_{step}.png', image)

    def _flatten(self, d: Any, parent_key: str = '', sep: str = '.') -> dict:
        """Dotted key -> value."""
        if not isinstance(d, Mapping):
            return {parent_key: d}
        named = {NOT_IN_A_NAME.sub('_', str(key)): value for key, value in d.items()}
        return super()._flatten(named, parent_key, sep)


def _says_nothing_of_servers(record: logging.LogRecord) -> bool:
    return 'mlflow server' not in str(record.msg)


def _with_text_keys(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _with_text_keys(each) for key, each in value.items()}
    return [_with_text_keys(each) for each in value] if isinstance(value, list) else value
