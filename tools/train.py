"""Train what a config describes: a tokenizer, a pre-training run, a classifier, a segmenter."""

import argparse

from beit_mm.engine import (
    add_common_arguments,
    choose_start,
    load_config,
    refuse_foreign_work_dir,
    told_in_a_line,
    track,
    train,
    use_mixed_precision,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_common_arguments(parser)
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from a checkpoint; without one, from the newest in the work directory',
    )
    parser.add_argument('--amp', action='store_true', help='train in automatic mixed precision')
    parser.add_argument(
        '--track',
        action='append',
        default=[],
        metavar='TRACKER',
        help='where else figures and pictures go: tensorboard, wandb, mlflow; several with commas',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with told_in_a_line(args.config, args.debug):
        named = args.resume not in (None, 'auto')
        cfg = load_config(args, {'load_from': '--resume CHECKPOINT says it'} if named else {})
        if args.amp:
            use_mixed_precision(cfg, args.cfg_options)
        track(cfg, args.track)
        choose_start(cfg, args.resume)
        refuse_foreign_work_dir(cfg)
        train(cfg)


if __name__ == '__main__':
    main()
