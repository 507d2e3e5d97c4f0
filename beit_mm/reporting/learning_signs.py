"""Signs that a run does not learn what it should: codes, accuracy, loss, validation."""

from collections.abc import Iterator

import numpy as np

from ..engine.measuring.collapse import evidence_of_collapse, what_to_try
from .curve import Curve
from .findings import Finding, number
from .run_record import StageRecord

# Above the commonest token's share by less than this, in points, nothing is learned yet.
MARGIN = 0.5
# A loss that is so many times its usual change above the points before it is a spike.
SPIKE, AROUND = 10.0, 10
# Of validation's accuracy below training's, in points and as a part of it.
POINTS_BELOW, PART_BELOW = 5.0, 0.3
# Of a tokenizer's error on new images above that in training.
ERROR_ABOVE = 1.5
# Of the error of hidden patches of variance 1, from which on nothing is predicted.
FLAT = 0.98
# Temperature above which training's pictures are of blended codes, validation's of one a place.
BLENDED = 0.1
# Names of figures of which more is better.
SCORES = ('mim/acc', 'accuracy/top1', 'mIoU', 'multi-label/mAP')


def accuracy_no_better_than_the_commonest(stage: StageRecord) -> Iterator[Finding]:
    """Hidden tokens predicted no more often than the same answer everywhere would be right."""
    pairs = (
        (stage.val, 'mim/acc', 'mim/commonest', 'of the validation images'),
        (stage.train, 'mim_acc', 'mim_commonest', 'of the training batches, on average'),
    )
    for curves, name, commonest, of in pairs:
        if name in curves and commonest in curves:
            of_training = curves is stage.train
            accuracy, share = (
                float(np.nanmean(curves[n].later(0.25).values)) if of_training else curves[n].last
                for n in (name, commonest)
            )
            if accuracy < share + MARGIN:
                yield Finding(
                    'wrong',
                    'It predicts hidden tokens no better than the same answer everywhere would.',
                    f'{number(accuracy)} % of the hidden tokens {of} are predicted, and '
                    f'{number(share)} % are the commonest token anyway.',
                    'Train longer. If the loss has stopped falling, lower the learning rate '
                    '(optim_wrapper.optimizer.lr) and see that the tokenizer uses its codes; a '
                    'small network needs use_abs_pos_emb=True.',
                )
            return


def error_no_better_than_a_flat_patch(stage: StageRecord) -> Iterator[Finding]:
    """Normalised pixels of hidden patches predicted no better than by their mean, 0."""
    normalised = stage.setting('model.target_generator.normalize') is True
    if not normalised or 'mim/mse' not in stage.val:
        return
    error = stage.val['mim/mse'].last
    if error > FLAT:
        yield Finding(
            'wrong',
            'It predicts hidden patches no better than a flat grey would.',
            f'Their squared error is {number(error)} on the validation images, and their pixels '
            'have a variance of 1.',
            'Train longer. If the loss has stopped falling, change the learning rate '
            '(optim_wrapper.optimizer.lr), and look at the images and masks.',
        )


def codebook_collapse(stage: StageRecord) -> Iterator[Finding]:
    """Few of the vocabulary's tokens are in use: as ``beit-mm look tokens`` judges it."""
    size = vocabulary(stage)
    if size is None:
        return
    for curves, name, of in (
        (stage.val, 'tokenizer/codes_used', 'on the validation images'),
        (stage.val, 'mim/codes_used', 'as targets of the validation images'),
        (stage.train, 'mim_codes', 'as targets in a training batch'),
    ):
        known = {
            figure: curves[whole].last
            for figure in ('perplexity', 'kmeans_perplexity', 'places')
            if (whole := name.replace('codes_used', figure)) in curves
        }
        places = known.get('places') if curves is stage.val else places_a_batch(stage)
        if name not in curves or places is None:
            continue
        used = round(curves[name].last)
        evidence = evidence_of_collapse(
            size, int(places), used, known.get('perplexity'), known.get('kmeans_perplexity')
        )
        if evidence:
            tried = what_to_try(_quantizer(stage))
            yield Finding(
                'wrong',
                'The codebook has collapsed.',
                f'{used} of {size} codes, {number(100 * used / size)} %, are used {of}'
                + _commonest(stage) + f'; {evidence}.',
                f'{tried[0].upper()}{tried[1:]}. Pre-training on such tokens teaches little.',
            )  # fmt: skip
        return


def _quantizer(stage: StageRecord) -> str:
    generator = 'model.target_generator'
    for at in ('model', f'{generator}.tokenizer', f'{generator}.generator.tokenizer'):
        if isinstance(found := stage.setting(f'{at}.quantizer'), str):
            return found
    # What DiscreteVAE has if nobody says so.
    return 'gumbel'


def _commonest(stage: StageRecord) -> str:
    curve = stage.val.get('mim/commonest') or stage.train.get('mim_commonest')
    return '' if curve is None else f', the commonest at {number(curve.last)} % of the places'


def vocabulary(stage: StageRecord) -> int | None:
    """Codes of a tokenizer, or classes of a pre-training's head."""
    for key in ('model.head.vocab_size', 'model.vocab_size'):
        if (size := stage.count(key)) is not None:
            return size
    return None


def places_a_batch(stage: StageRecord) -> int | None:
    """Hidden patches of a batch, as many as the mask of the training pipeline has."""
    for step in stage.parts('train_dataloader.dataset.pipeline'):
        masked = step.get('num_masked')
        if 'PatchCorruption' in str(step.get('type')):
            height, width = step.get('grid_size', (14, 14))
            masked = round(step.get('share', 0.5) * height * width)
        if isinstance(masked, int):
            return masked * (stage.images_a_step or 1)
    return None


def loss_not_finite(stage: StageRecord) -> Iterator[Finding]:
    """Steps whose loss or gradient was NaN or infinite."""
    advice = (
        'A lower learning rate, gradient clipping (optim_wrapper.clip_grad) or bfloat16 in place '
        'of float16 help most often. '
    )
    if stage.left_out:
        places = [report['iteration'] for report in stage.left_out]
        norm = stage.left_out[0].get('gradient_norm')
        yield Finding(
            'wrong' if len(places) >= 3 else 'warning',
            f'Loss or gradient was not finite in {_steps(len(places))}, which '
            f'{"was" if len(places) == 1 else "were"} left out.',
            f'Iteration {_some(places)}; the norm of the gradient was '
            f'{number(norm if isinstance(norm, (int, float)) else np.nan)} in the first.',
            advice + f'{stage.path.name}/non_finite names the images of each.',
        )
        return
    for name in ('loss', 'grad_norm'):
        if (curve := stage.train.get(name)) is None:
            continue
        bad = curve.steps[~np.isfinite(curve.values)]
        if len(bad):
            yield Finding(
                'wrong',
                f'{"The loss" if name == "loss" else "The norm of the gradient"} is not finite.',
                f'In {len(bad)} of {len(curve.steps)} entries of the log, first at iteration '
                f'{bad[0]:.0f}.',
                advice + 'NonFiniteHook leaves such steps out and names their images.',
            )
            return


def _steps(count: int) -> str:
    return 'one step' if count == 1 else f'{count} steps'


def _some(places: list[int]) -> str:
    places = sorted(places)
    told = ', '.join(f'{place:,}' for place in places[:5])
    return told + (f' and {len(places) - 5} more' if len(places) > 5 else '')


def loss_spikes(stage: StageRecord) -> Iterator[Finding]:
    """The loss jumps far above the points before it."""
    if (curve := stage.train.get('loss')) is None:
        return
    places = spikes(curve)
    if not places:
        return
    worst = max(places, key=lambda index: curve.values[index])
    before = float(np.median(curve.values[max(0, worst - AROUND) : worst]))
    yield Finding(
        'warning',
        'The loss spikes.',
        f'At iteration {_some([int(curve.steps[index]) for index in places])}; the highest is '
        f'{number(curve.values[worst])}, where it was {number(before)} before.',
        'If it does not come back to where it was, lower the learning rate, warm up longer or clip '
        'gradients (optim_wrapper.clip_grad). A single one that does is harmless.',
    )


def spikes(curve: Curve) -> list[int]:
    """Indices of a loss that jump above the median of the points before them.

    By ten times their usual change, and by a third of what the loss has fallen in all; each spike
    once, where it begins.
    """
    values, found = curve.values, []
    finite = values[np.isfinite(values)]
    if len(finite) <= AROUND:
        return []
    changes = np.abs(np.diff(finite))
    usual = float(np.median(changes))
    least = max(SPIKE * usual, (float(finite[0]) - float(finite.min())) / 3, 1e-12)
    inside = False
    for index in range(AROUND, len(values)):
        before = values[index - AROUND : index]
        high = bool(values[index] > np.median(before) + least)
        if high and not inside:
            found.append(index)
        inside = high
    return found


def loss_does_not_fall(stage: StageRecord) -> Iterator[Finding]:
    """The loss ends where it began, or above."""
    curve = stage.train.get('loss')
    if curve is None or len(curve.steps) < AROUND:
        return
    finite = curve.values[np.isfinite(curve.values)]
    if len(finite) < AROUND:
        return
    part = max(1, len(finite) // 10)
    first, last = float(np.median(finite[:part])), float(np.median(finite[-part:]))
    noise = float(np.std(finite[-max(3, len(finite) // 4) :]))
    if first - last > max(noise, 0.02 * abs(first)):
        return
    rate = stage.setting('optim_wrapper.optimizer.lr')
    yield Finding(
        'wrong',
        'The loss does not fall.',
        f'It was {number(first)} in the first tenth of the run and is {number(last)} in the last; '
        f'the learning rate is {rate if rate is not None else "not known"}.',
        'Mostly the learning rate: try a tenth of it (optim_wrapper.optimizer.lr), or ten times as '
        'much if the norm of the gradient is tiny. Look at a batch of images and masks too.',
    )


def worse_on_new_images(stage: StageRecord) -> Iterator[Finding]:
    """Validation is behind training, or falls back while training goes on."""
    advice = (
        'It has learned these images by heart: more images, stronger augmentation, more drop path, '
        'a smaller network or fewer epochs.'
    )
    train, val = stage.train.get('mim_acc'), stage.val.get('mim/acc')
    if train is not None and val is not None:
        known = float(np.nanmean(train.later(0.1).values))
        if known - val.last > max(POINTS_BELOW, PART_BELOW * known):
            yield Finding(
                'warning', 'It predicts worse on images that it has not trained on.',
                f'{number(known)} % of the hidden tokens in training, {number(val.last)} % in '
                'validation.', advice,
            )  # fmt: skip
    errors = ('recon_mse', 'tokenizer/recon_mse'), ('loss', 'mim/mse'), ('loss', 'loss')
    for known_name, name in errors:
        if known_name not in stage.train or name not in stage.val:
            continue
        blended = 'temperature' in stage.train and stage.train['temperature'].last > BLENDED
        if known_name == 'recon_mse' and blended:
            continue
        error, new = float(np.nanmean(stage.train[known_name].later(0.1).values)), stage.val[name]
        if error > 0 and new.last > ERROR_ABOVE * error:
            yield Finding(
                'warning', 'The error is larger on images that it has not trained on.',
                f'{known_name} is {number(error)} in training, {name} is {number(new.last)}.',
                advice,
            )  # fmt: skip
    for name in SCORES:
        if name in stage.val and len(stage.val[name].steps) > 2:
            curve = stage.val[name]
            if not np.isfinite(curve.values).any():
                continue
            best = int(np.nanargmax(curve.values))
            if curve.values[best] - curve.last > max(2.0, 0.1 * float(curve.values[best])):
                yield Finding(
                    'warning', 'Validation was better earlier in the run.',
                    f'{name} was {number(curve.values[best])} at iteration '
                    f'{curve.steps[best]:,.0f} and is {number(curve.last)} at the end.',
                    f"{advice} default_hooks.checkpoint.save_best='{name}' keeps the best.",
                )  # fmt: skip


LEARNING = (
    loss_not_finite,
    codebook_collapse,
    accuracy_no_better_than_the_commonest,
    error_no_better_than_a_flat_patch,
    loss_does_not_fall,
    loss_spikes,
    worse_on_new_images,
)
