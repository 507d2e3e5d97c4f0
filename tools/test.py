"""Evaluate a checkpoint on a config's test data, with the config's metrics."""

import argparse

from mmengine.dist import is_main_process
from mmengine.fileio import dump

from beit_mm.engine import (
    add_common_arguments,
    average_over_views,
    build_runner,
    dump_predictions,
    load_config,
    told_in_a_line,
)
from beit_mm.engine.starting.testing import check_metrics_file

# Settings of a config that are none of a test's.
SAID_ELSEWHERE = {'load_from': 'CHECKPOINT says it', 'resume': 'a test does not resume'}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_common_arguments(parser)
    parser.add_argument('checkpoint', help='file, folder, hf-hub:ORG/NAME, timm:NAME or URL')
    parser.add_argument('--out', metavar='FILE', help='write the metrics to a .json or .pkl file')
    parser.add_argument(
        '--predictions',
        metavar='FILE',
        help='write what is predicted for every image to a .pkl file',
    )
    parser.add_argument(
        '--tta', action='store_true', help="average over the config's tta_pipeline, by tta_model"
    )
    args = parser.parse_args()
    if args.predictions and not args.predictions.endswith(('.pkl', '.pickle')):
        parser.error(f'--predictions {args.predictions} must end in .pkl or .pickle')
    return args


def main() -> None:
    args = parse_args()
    with told_in_a_line(args.config, args.debug):
        if args.out:
            check_metrics_file(args.out)
        cfg = load_config(args, SAID_ELSEWHERE)
        cfg.load_from = args.checkpoint
        # The config that a resumed run has dumped says True.
        cfg.resume = False
        if args.predictions:
            dump_predictions(cfg, args.predictions)
        if args.tta:
            average_over_views(cfg)
        metrics = build_runner(cfg, mode='test').test()
    if args.out and is_main_process():
        dump(metrics, args.out)


if __name__ == '__main__':
    main()
