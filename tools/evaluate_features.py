"""A quick look at frozen features: k-NN and a linear classifier on an image data set.

    python tools/evaluate_features.py configs/claims/finetune.py work_dirs/pretrain/epoch_12.pth

CONFIG is a classification config; its backbone, preprocessing and data sets are used, with the test
pipeline for both. CHECKPOINT is in any public layout, `none` for random weights. Features are the
mean over the patches of a block's output.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from mmengine.config import Config, DictAction
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner
from torch import Tensor

from beit_mm.checkpoints import CheckpointError
from beit_mm.engine import ConfigError, check_config
from beit_mm.engine.measuring.feature_evaluation import extract_features, knn_top1, linear_top1


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='classification config')
    parser.add_argument('checkpoint', help='weights of the backbone, or none')
    layers = parser.add_mutually_exclusive_group()
    layers.add_argument('--layer', type=int, help='block, counted from 1; default: the last')
    layers.add_argument('--by-layer', action='store_true', help='a row for every block')
    parser.add_argument('--neighbors', type=int, default=20, help='of k-NN')
    parser.add_argument('--seed', type=int, default=0, help='of random weights')
    parser.add_argument('--json', type=Path, help='write the figures to this file too')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, default={}, metavar='KEY=VALUE',
        help='settings of the config to override',
    )  # fmt: skip
    return parser.parse_args()


def load_config(args: argparse.Namespace) -> Config:
    """The config, with a backbone that starts from the checkpoint and returns feature maps."""
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options)
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    cfg.model.backbone.init_cfg = (
        None if args.checkpoint == 'none' else dict(type='Pretrained', checkpoint=args.checkpoint)
    )
    for mode in ('train', 'test'):
        check_config(cfg, mode)
    return cfg


def build_backbone(cfg: Config, args: argparse.Namespace) -> torch.nn.Module:
    """In eval mode, returning the blocks that were asked for."""
    torch.manual_seed(args.seed)
    backbone = MODELS.build({**cfg.model.backbone, 'out_type': 'featmap'})
    if args.layer is not None and not 1 <= args.layer <= backbone.num_layers:
        raise ConfigError(f'--layer is {args.layer}; the backbone has 1 to {backbone.num_layers}')
    layers = range(backbone.num_layers) if args.by_layer else [(args.layer or 0) - 1]
    backbone.out_indices = tuple(layer % backbone.num_layers for layer in layers)
    backbone.init_weights()
    return backbone.eval()


def features_of(dataset: dict, cfg: Config, backbone: torch.nn.Module) -> tuple:
    """Features and labels of a data set, through the test pipeline."""
    loader = {**cfg.test_dataloader, 'sampler': dict(type='DefaultSampler', shuffle=False)}
    loader['dataset'] = {**dataset, 'pipeline': cfg.test_dataloader.dataset.pipeline}
    preprocessor = MODELS.build({'type': 'ClsDataPreprocessor', **cfg.model.data_preprocessor})
    device = next(backbone.parameters()).device
    return extract_features(backbone, preprocessor.to(device), Runner.build_dataloader(loader))


def evaluate(train: tuple, test: tuple, layers: list[int], neighbors: int) -> list[dict]:
    """Top-1 a layer, by both classifiers."""
    rows = []
    for layer, train_features, test_features in zip(layers, train[0], test[0], strict=True):
        sets: tuple[Tensor, ...] = (train_features, train[1], test_features, test[1])
        rows.append(
            dict(layer=layer, knn=knn_top1(*sets, neighbors=neighbors), linear=linear_top1(*sets))
        )
    return rows


def main() -> None:
    args = parse_args()
    try:
        cfg = load_config(args)
        backbone = build_backbone(cfg, args)
    except (CheckpointError, ConfigError) as error:
        sys.exit(f'{args.config}: {error}')
    if torch.cuda.is_available():
        backbone.cuda()
    train, test = (
        features_of(cfg[loader].dataset, cfg, backbone)
        for loader in ('train_dataloader', 'test_dataloader')
    )
    layers = [index + 1 for index in backbone.out_indices]
    rows = evaluate(train, test, layers, args.neighbors)
    chance = 100 * float(test[1].bincount().max()) / len(test[1])
    print(f'{len(train[1])} training and {len(test[1])} test images; '
          f'always the commonest class: {chance:.1f} %')  # fmt: skip
    print(f'layer  {args.neighbors}-NN top-1  linear top-1')
    for row in rows:
        print(f'{row["layer"]:5d}  {row["knn"]:11.2f}  {row["linear"]:12.2f}')
    if args.json:
        report = dict(train=len(train[1]), test=len(test[1]), chance=chance, layers=rows)
        args.json.write_text(json.dumps(report, indent=2) + '\n')


if __name__ == '__main__':
    main()
