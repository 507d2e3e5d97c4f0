"""Top-1 of least squares on frozen features, of the few labels of a classification config.

    python benchmarks/claim_few_shot.py CONFIG CHECKPOINT RESULT.json

As ViT measures it, arXiv 2010.11929, section 4.1. Photos are read by the test pipeline.
"""

import json
import sys
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner

from beit_mm.engine.measuring.feature_evaluation import extract_features
from beit_mm.engine.measuring.few_shot import LeastSquares, hits_of


@torch.no_grad()
def few_shot_top1(cfg: Config, checkpoint: str) -> float:
    """In per cent."""
    weights = dict(type='Pretrained', checkpoint=checkpoint)
    backbone = MODELS.build({**cfg.model.backbone, 'out_type': 'featmap', 'init_cfg': weights})
    backbone.init_weights()
    backbone.to(get_device())
    preprocessor = MODELS.build({'type': 'ClsDataPreprocessor', **cfg.model.data_preprocessor})
    preprocessor.to(get_device())
    sets = []
    for name in ('train', 'test'):
        dataset = cfg[f'{name}_dataloader'].dataset
        loader = {**cfg.test_dataloader, 'sampler': dict(type='DefaultSampler', shuffle=False)}
        loader['dataset'] = {**dataset, 'pipeline': cfg.test_dataloader.dataset.pipeline}
        batches = Runner.build_dataloader(loader)
        features, labels = extract_features(backbone.eval(), preprocessor, batches)
        sets.append((features[-1], labels))
    (few, few_labels), (many, many_labels) = sets
    squares = LeastSquares(few.shape[1], cfg.model.head.num_classes)
    squares.add(few, few_labels)
    hits = hits_of([squares.solve()], many, many_labels)
    return 100 * float(hits[0]) / len(many)


def main() -> None:
    config, checkpoint, result = sys.argv[1:]
    cfg = Config.fromfile(config)
    init_default_scope('mmpretrain')
    top1 = few_shot_top1(cfg, checkpoint)
    Path(result).write_text(json.dumps(dict(few_shot=round(top1, 2))))


if __name__ == '__main__':
    main()
