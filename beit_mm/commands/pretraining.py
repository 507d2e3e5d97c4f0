"""``beit-mm pretrain``: from a folder of images to a pre-trained Transformer."""

import functools
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..component import ConfigError
from ..engine.starting.stages import Progress, Stage
from ..engine.starting.stages import minutes as as_minutes
from .choices import (
    Machine,
    Sizes,
    choose_sizes,
    choose_steps,
    this_machine,
    values_for_decoder,
)
from .filling import config_of, with_options
from .how_to_read import how_to_read
from .learned import draw_what_was_learned, report_of_pretraining
from .lengths import (
    AFTERWARDS,
    AROUND_A_STAGE,
    LEAST_STEPS,
    as_epochs,
    check_dry_run,
    check_same_folder,
    seconds_left,
    steps_asked,
    with_length,
)
from .photos import Photos, photos_without_labels
from .pretraining_configs import tokenizer_text, transformer_text
from .run_folder import RunFolder, copy_whole, write_bare_weights
from .sharded_photos import sharded_without_labels
from .timing import seconds_a_step
from .which_tokenizer import Tokenizer, own_tokenizer, tokenizer_of

# Of --minutes, what the tokenizer gets; of the Transformer's steps, as many; and no more than this.
TOKENIZER_SHARE, TOKENIZER_STEPS, MOST_TOKENIZER_STEPS = 0.25, 0.5, 10_000
# Of both papers.
EPOCHS = 800
BEIT, MAE = METHODS = 'beit', 'mae'
# Where the user does not say which. Measured at 3 minutes: docs/pretrain.md.
WHY_BEIT = ', as a tokenizer is given'
WHY_MAE = ', as in minutes it learns more without a tokenizer'


class Length(NamedTuple):
    """Of a stage."""

    steps: int
    seconds: float


def pretrain(
    folder: str | Path,
    out: str | Path | None = None,
    *,
    steps: int | None = None,
    minutes: float | None = None,
    arch: str | None = None,
    size: int | None = None,
    method: str | None = None,
    tokenizer: str | Path | None = None,
    bands: str | None = None,
    value_range: str | None = None,
    no_data: float | None = None,
    resume: bool = False,
    track: str | None = None,
    cfg_options: Mapping[str, Any] | None = None,
    dry_run: bool = False,
) -> Path:
    """Pre-train a Transformer on a folder of images, without labels.

    What is not said is chosen by the images and the machine, and printed.

    Args:
        folder: Images, in it and in all folders inside; or shards, in a folder or a store.
        out: Folder of the run; by default ``work_dirs/<name of the folder>_pretrain``.
        steps: Of the Transformer; a tokenizer gets half as many.
        minutes: For all of it, in place of ``steps``.
        arch: 'tiny', 'small', 'base', ...
        size: Height and width of what the network sees, in pixels.
        method: 'beit' predicts visual tokens of hidden patches, 'mae' their pixels; without,
            'beit' where a tokenizer is given, else 'mae'.
        tokenizer: Of BEiT: folder of another pre-training whose tokenizer is taken, or OpenAI's
            ``encoder.pkl``; without, a small one is trained first.
        bands, value_range, no_data: See
            :func:`beit_mm.commands.how_to_read.how_to_read`.
        resume: Whether to go on with the run in ``out``.
        track: Where else the figures go, such as 'tensorboard'.
        cfg_options: Settings of the pre-training's config, which win over all others.
        dry_run: Whether to print the config alone; not of ``minutes``, which a run measures.

    Returns:
        The folder, with ``pretrained.pth`` and ``report.md`` in it.

    Raises:
        ConfigError: If there are no images, or a choice of the user's cannot be.
        SystemExit: If training fails, with the end of its log.
    """
    start = time.monotonic()
    options = dict(cfg_options or {})
    steps = steps_asked(steps, minutes, options)
    check_dry_run(dry_run, resume, minutes)
    choose = functools.partial(how_to_read, bands=bands, value_range=value_range, no_data=no_data)
    photos = sharded_without_labels(folder, choose) or photos_without_labels(folder, choose)
    run = RunFolder(out or Path('work_dirs', f'{photos.root.name}_pretrain'), 'pretrain.py')
    machine = this_machine()
    sizes = choose_sizes(len(photos.train), photos.short_side, machine, size, arch)
    tokens = _tokens_for(method, tokenizer, sizes, photos, run)
    if dry_run:
        text = transformer_text(run, photos, sizes, tokens, steps or 2000)
        print(config_of(text, options).pretty_text)
        return run.path
    first = second = Length(0, 1.0)
    if run.begin(resume):
        known = run.known(
            minutes=minutes, arch=arch, size=size, method=method, tokenizer=tokenizer,
            bands=bands, value_range=value_range, no_data=no_data,
        )  # fmt: skip
        check_same_folder(known.data_root, photos.place)
        run.change(with_length(options, steps))
    else:
        # Before anything is trained: a slip in an option would be found behind the tokenizer.
        config_of(transformer_text(run, photos, sizes, tokens, steps or 2000), options)
        with run.removed_if_refused():
            run.write('train.txt', '\n'.join(photos.train) + '\n')
            run.write('val.txt', '\n'.join(photos.val) + '\n')
            print(_what_was_chosen(photos, machine, sizes, tokens, method, run))
            first, second = _lengths(
                run, photos, sizes, tokens, machine, steps, minutes, start, options
            )
            if first.steps:
                run.write('tokenizer.py', tokenizer_text(run, photos, sizes, first.steps))
            else:
                # Of a start with a tokenizer of its own that has saved nothing.
                (run.path / 'tokenizer.py').unlink(missing_ok=True)
                run.forget_figures('tokenizer')
            text = transformer_text(run, photos, sizes, tokens, second.steps)
            run.write('pretrain.py', with_options(text, options))

    stages = _stages(run, first, second)
    progress = Progress(stages)
    if len(stages) > 1:
        begun = time.monotonic()
        trained = run.train(stages[0], progress, track, machine)
        copy_whole(trained, run.path / 'tokenizer.pth')
        if minutes is not None and first.steps:
            # The machine has shown how fast it is beside what was measured.
            now = time.monotonic()
            slower = (now - begun) / (first.seconds + AROUND_A_STAGE)
            left = start + 60 * minutes - now - AROUND_A_STAGE - AFTERWARDS
            fitting = max(LEAST_STEPS, int(second.steps * left / (second.seconds * slower)))
            text = transformer_text(run, photos, sizes, tokens, fitting)
            run.write('pretrain.py', with_options(text, options))
            print(f'{fitting} steps of the Transformer fit into the time that is left')
    checkpoint = run.train(stages[-1], progress, track, machine)
    write_bare_weights(checkpoint, run.path / 'pretrained.pth', run.path / 'pretrain.py')
    draw_what_was_learned(run.path)
    print(report_of_pretraining(run, len(run.lines_of('train.txt')), start))
    return run.path


def _tokens_for(
    method: str | None,
    tokenizer: str | Path | None,
    sizes: Sizes,
    photos: Photos,
    run: RunFolder,
) -> Tokenizer | None:
    """The tokenizer of a method, None where it has none.

    Raises:
        ConfigError: If there is no such method, or it takes no tokenizer and one is given.
    """
    if method not in (None, *METHODS):
        raise ConfigError(f'--method is {method!r}; it must be one of {", ".join(METHODS)}')
    if method == BEIT or (method is None and tokenizer is not None):
        own = own_tokenizer(sizes, photos.how, run.path / 'tokenizer.pth')
        # As a path it would be the folder that one is in.
        if tokenizer == '':
            raise ConfigError('--tokenizer is empty; it must be a folder or a file, or left out')
        return own if tokenizer is None else tokenizer_of(tokenizer, sizes)
    if tokenizer is not None:
        raise ConfigError(
            '--tokenizer is given, and --method mae predicts pixels: leave one of them out'
        )
    return None


def _stages(run: RunFolder, tokenizer: Length, transformer: Length) -> list[Stage]:
    """What is left to train: of the tokenizer nothing if it is there or another run's."""
    stages = [Stage('Pre-train on masked images', run.path / 'pretrain.py', transformer.seconds)]
    if (run.path / 'tokenizer.py').is_file() and not (run.path / 'tokenizer.pth').is_file():
        title = 'Train an image tokenizer'
        stages.insert(0, Stage(title, run.path / 'tokenizer.py', tokenizer.seconds))
    return stages


def _lengths(
    run: RunFolder,
    photos: Photos,
    sizes: Sizes,
    tokenizer: Tokenizer | None,
    machine: Machine,
    steps: int | None,
    minutes: float | None,
    start: float,
    options: Mapping[str, Any],
) -> tuple[Length, Length]:
    """Of the tokenizer's stage and the Transformer's, by a few steps of both."""
    own = tokenizer is not None and tokenizer.file == run.path / 'tokenizer.pth'
    cfg = config_of(transformer_text(run, photos, sizes, tokenizer, 1000), options)
    batch = cfg.train_dataloader.batch_size * machine.processes
    a_step = seconds_a_step(cfg, machine)
    a_tokenizer_step = 0.0
    if own:
        text = tokenizer_text(run, photos, sizes, 1000)
        a_tokenizer_step = seconds_a_step(config_of(text, {}), machine)
    if minutes is not None:
        stages = 2 if own else 1
        around = stages * AROUND_A_STAGE + AFTERWARDS
        left = seconds_left(minutes, start, around, LEAST_STEPS * (a_step + a_tokenizer_step))
        share = TOKENIZER_SHARE * left if own else 0.0
        first = int(share / a_tokenizer_step) if own else 0
        steps = int((left - share) / a_step)
    else:
        steps = steps or choose_steps(len(photos.train), batch, a_step, machine, EPOCHS)
        first = max(1, int(TOKENIZER_STEPS * steps)) if own else 0
    first = min(first, MOST_TOKENIZER_STEPS)
    lengths = Length(first, first * a_tokenizer_step), Length(steps, steps * a_step)
    whole = sum(length.seconds + AROUND_A_STAGE for length in lengths if length.steps) + AFTERWARDS
    epochs = as_epochs(steps * batch / len(photos.train))
    tokens = f'{first} steps of the tokenizer, then ' if own else ''
    print(f'  length      {tokens}{steps} steps of the Transformer ({epochs} epochs), about '
          f'{as_minutes(whole)} in all (--steps, --minutes)')  # fmt: skip
    return lengths


def _what_was_chosen(
    photos: Photos,
    machine: Machine,
    sizes: Sizes,
    tokenizer: Tokenizer | None,
    method: str | None,
    run: RunFolder,
) -> str:
    """Lines for the user, with the option that changes each."""
    lines = [
        f'{len(photos.train)} images to train with and {len(photos.val)} held out, from '
        f'{photos.place}; most are {photos.short_side} pixels high or wide',
        f'  read as     {photos.how.line}',
        f'  machine     {machine.name}',
        f'  size        {sizes.image_size} x {sizes.image_size} pixels, patches of '
        f'{sizes.patch_size} (--size)',
        f'  network     {sizes.arch_in_words} (--arch)',
        *_lines_of_method(sizes, tokenizer, method, run),
        f'  batch       {sizes.batch_size} on each device, learning rate {sizes.learning_rate:g} '
        '(--cfg-options)',
        f'  writes      {run.path} (--out)',
    ]
    return '\n'.join(lines)


def _lines_of_method(
    sizes: Sizes, tokenizer: Tokenizer | None, method: str | None, run: RunFolder
) -> list[str]:
    why = '' if method else WHY_MAE if tokenizer is None else WHY_BEIT
    if tokenizer is None:
        decoder = values_for_decoder(sizes)
        return [
            f'  method      mae: it predicts the pixels of hidden patches{why} (--method)',
            f'  decoder     {decoder["num_layers"]} blocks, {decoder["embed_dims"]} wide, for '
            'pre-training alone',
        ]
    source = f'of {tokenizer.file}'
    if tokenizer.file.parent == run.path:
        source = 'trained on these images'
    return [
        f'  method      beit: it predicts visual tokens of hidden patches{why} (--method)',
        f'  tokenizer   {tokenizer.settings["vocab_size"]} visual tokens, {source} (--tokenizer)',
    ]
