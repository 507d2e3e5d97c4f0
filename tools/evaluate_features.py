"""A quick look at frozen features: k-NN and a linear classifier on an image data set.

    python tools/evaluate_features.py configs/claims/finetune.py work_dirs/pretrain/epoch_12.pth

CONFIG is a classification config; its backbone, preprocessing and data sets are used, with the test
pipeline for both. CHECKPOINT is in any public layout, `none` for random weights. Features are the
mean over the patches of a block's output.
"""

import argparse
import json
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import init_default_scope

from beit_mm.commands.output_files import output_file
from beit_mm.engine import check_config, told_in_a_line
from beit_mm.engine.measuring.feature_evaluation import evaluate_features
from beit_mm.engine.starting.launch import check_options
from beit_mm.engine.starting.telling import mistakes_of
from beit_mm.options import Options

# Settings that the arguments decide.
SAID_ELSEWHERE = {
    'model.backbone.init_cfg': 'CHECKPOINT says it',
    'model.backbone.out_indices': '--layer and --by-layer say it',
    'model.backbone.out_type': 'it is featmap here',
}


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
    parser.add_argument(
        '--seed', type=int, default=0, help='of random weights, which a checkpoint replaces'
    )
    parser.add_argument('--json', type=Path, help='write the figures to this file too')
    parser.add_argument(
        '--cfg-options', nargs='+', action=Options, default={}, metavar='KEY=VALUE',
        help='settings of the config to override',
    )  # fmt: skip
    parser.add_argument('--debug', action='store_true', help='show the traceback of a mistake')
    return parser.parse_args()


def load_config(args: argparse.Namespace) -> Config:
    """The config, with a backbone that starts from the checkpoint and returns feature maps."""
    cfg = Config.fromfile(args.config)
    check_options(cfg, args.cfg_options, SAID_ELSEWHERE)
    with mistakes_of('--cfg-options'):
        cfg.merge_from_dict(args.cfg_options)
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    cfg.model.backbone.init_cfg = (
        None if args.checkpoint == 'none' else dict(type='Pretrained', checkpoint=args.checkpoint)
    )
    for mode in ('train', 'test'):
        check_config(cfg, mode)
    return cfg


def main() -> None:
    args = parse_args()
    with told_in_a_line(args.config, args.debug):
        if args.json:
            output_file('--json', args.json)
        cfg = load_config(args)
        report = evaluate_features(
            cfg, args.layer, by_layer=args.by_layer, neighbors=args.neighbors, seed=args.seed
        )
    print(f'{report["train"]} training and {report["test"]} test images; '
          f'always the commonest class: {report["chance"]:.1f} %')  # fmt: skip
    print(f'layer  {args.neighbors}-NN top-1  linear top-1')
    for row in report['layers']:
        print(f'{row["layer"]:5d}  {row["knn"]:11.2f}  {row["linear"]:12.2f}')
    if args.json:
        args.json.write_text(json.dumps(report, indent=2) + '\n')


if __name__ == '__main__':
    main()
