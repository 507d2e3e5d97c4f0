"""What a test run may do beside its config: average over views, keep its predictions."""

from mmengine.config import Config

from ...component import ConfigError


def average_over_views(cfg: Config) -> None:
    """Test every photo at several sizes and flipped, and average what is predicted.

    Raises:
        ConfigError: If the config does not say how.
    """
    for key in ('tta_model', 'tta_pipeline'):
        if key not in cfg:
            raise ConfigError(f'--tta takes {key}, which the config lacks')
    cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
    cfg.model = dict(cfg.tta_model, module=cfg.model)


def dump_predictions(cfg: Config, path: str) -> None:
    """Write what is predicted for every image to a .pkl file, beside the metrics.

    Args:
        cfg: A whole config, changed in place.
        path: The file.
    """
    metrics = cfg.test_evaluator if isinstance(cfg.test_evaluator, list) else [cfg.test_evaluator]
    cfg.test_evaluator = [*metrics, dict(type='DumpResults', out_file_path=path)]
