"""``beit-mm test``: the metrics of a config, as tools/test.py reports them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.fileio import dump

from ..component import ConfigError
from ..engine.starting.launch import build_runner, check_options
from ..engine.starting.telling import mistakes_of
from ..engine.starting.testing import check_metrics_file
from .moved_runs import config_of_run
from .trained import CLASSIFIER, SEGMENTOR, finished_run

# Settings of a config that are none of a test's.
SAID_ELSEWHERE = {
    'load_from': 'the checkpoint says it',
    'resume': 'a test does not resume',
    'launcher': 'the test is one process',
}


def run_test(
    config: str | Path,
    checkpoint: str | Path | None = None,
    *,
    out: str | Path | None = None,
    cfg_options: Mapping[str, Any] | None = None,
) -> dict[str, float]:
    """Evaluate a checkpoint on the test data of a config, in one process.

    Args:
        config: A file, or a folder that ``beit-mm finetune`` or ``segment`` has made.
        checkpoint: Weights, in any layout; of a folder they are known.
        out: A .json or .pkl file for the metrics.
        cfg_options: Settings of the config, which win; not ``load_from``, ``resume`` and
            ``launcher``.

    Returns:
        Name -> value.

    Raises:
        ConfigError: If a file is not there, ``out`` cannot be written, the config cannot work, or
            nothing would read a setting.
    """
    if out is not None:
        check_metrics_file(out)
    path = Path(config).expanduser()
    made = path.is_dir()
    if made:
        path, weights = finished_run(path, CLASSIFIER, SEGMENTOR)
        checkpoint = checkpoint or weights
    if checkpoint is None:
        raise ConfigError(f'{config} is a config: the weights to test come behind it')
    cfg = config_of_run(path) if made else Config.fromfile(path)
    options = dict(cfg_options or {})
    check_options(cfg, options, SAID_ELSEWHERE)
    cfg.launcher, cfg.load_from, cfg.resume = 'none', str(checkpoint), False
    cfg.work_dir = str(path.parent / 'test') if made else f'work_dirs/{path.stem}'
    with mistakes_of('--cfg-options'):
        cfg.merge_from_dict(options)
    metrics = build_runner(cfg, mode='test').test()
    if out is not None:
        dump(metrics, str(out))
    return metrics
