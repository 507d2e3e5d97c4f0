"""What a test run may do beside its config: average over views, keep its predictions."""

from pathlib import Path
from typing import cast

from mmengine.config import Config
from mmengine.fileio.handlers import file_handlers

from ...component import ConfigError, innermost


def average_over_views(cfg: Config) -> None:
    """Test every photo at several sizes and flipped, and average what is predicted.

    Raises:
        ConfigError: If the config does not say how.
    """
    for key in ('tta_model', 'tta_pipeline'):
        if key not in cfg:
            raise ConfigError(f'--tta takes {key}, which the config lacks')
    for _, dataset in innermost('', cfg.test_dataloader.dataset):
        cast(dict, dataset)['pipeline'] = cfg.tta_pipeline
    model = dict(cfg.tta_model, module=cfg.model)
    if cfg.get('data_preprocessor') and cfg.model.get('data_preprocessor'):
        # The Runner gives the one beside the model to a model that has none of its own.
        model['data_preprocessor'] = cfg.model.data_preprocessor
    cfg.model = model


def check_metrics_file(path: str | Path) -> None:
    """See to it that metrics can be written into a file, before anything is tested.

    Raises:
        ConfigError: If it has an ending that mmengine does not write, or is a folder.
    """
    if Path(path).suffix[1:] not in file_handlers:
        endings = ', '.join(f'.{ending}' for ending in file_handlers)
        raise ConfigError(f'--out is {path}; it must end in one of {endings}')
    if Path(path).is_dir():
        raise ConfigError(f'--out is {path}, which is a folder; name the file')


def dump_predictions(cfg: Config, path: str) -> None:
    """Write what is predicted for every image to a .pkl file, beside the metrics.

    Args:
        cfg: A whole config, changed in place.
        path: The file.
    """
    metrics = cfg.test_evaluator if isinstance(cfg.test_evaluator, list) else [cfg.test_evaluator]
    cfg.test_evaluator = [*metrics, dict(type='DumpResults', out_file_path=path)]
