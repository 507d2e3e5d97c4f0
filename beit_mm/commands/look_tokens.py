"""``beit-mm look tokens``: what visual tokens stand for, and whether they are in use."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..datasets.reading.measuring import spread
from ..engine.measuring.collapse import could_be_used, evidence_of_collapse, what_to_try
from ..engine.measuring.metrics import MOST_VALUES
from ..engine.measuring.yardsticks import patches_of, yardsticks
from ..models.sampled_tokens import sample_tokens, token_logits
from ..visualization import (
    CodeRow,
    CodeUse,
    Redrawn,
    draw_tokens,
    in_three_bands,
    patches_around,
)
from .looked_images import counted, look_at, look_at_all
from .looked_tokenizer import SHOWN, LookedTokenizer, tokenizer_for
from .picture_files import picture_path, write_picture
from .predicting import files_of

# Codes of each kind, patches of a code, and images that are made again.
CODES, PATCHES, REDRAWN = 10, 8, 6
TEMPERATURES = (0.0, 0.5, 1.0, 2.0)
SEED = 0


@torch.no_grad()
def look_tokens(
    tokenizer: str | Path,
    images: Sequence[str | Path],
    size: int | None = None,
    out: str | Path | None = None,
) -> Path:
    """Draw what the codes of a tokenizer stand for, how often each is used, and what is kept.

    Args:
        tokenizer: Folder of ``beit-mm pretrain`` or of the quickstart, work directory of a
            tokenizer's training, or a file of weights.
        images: Files, or folders of them.
        size: Height and width of what the tokenizer sees; without, that of its training.
        out: The picture, .png; by default ``work_dirs/look/tokens.png``. Beside it ``.npz``:
            ``counts`` (V,) of all codes, ``codes`` (N,) of those drawn, ``patches`` of each and
            ``places`` (N, K, 3) with image, row and column, -1 where there are fewer, ``files``,
            and ``redrawn`` by ``temperatures``.

    Returns:
        The picture.
    """
    path = picture_path(out, 'tokens')
    files = files_of(images)
    take = tokenizer_for(tokenizer, list(files), size)
    use, kept, errors = _count(take, files)
    groups = use.groups(CODES)
    chosen = [int(code) for codes in groups.values() for code in codes]
    places = {code: use.places_of(code) for code in chosen}
    patches = _patches(take, places, kept)
    decoded = _decoded(take, chosen)
    total = use.counts.sum()
    rows = {
        name: [
            CodeRow(int(c), use.counts[c] / total, patches[int(c)], decoded.get(int(c)))
            for c in codes
        ]
        for name, codes in groups.items()
    }
    redrawn = _redrawn(take, {file: Path(file.name) for file in spread(kept, REDRAWN)})
    said = _tell(take, use, len(kept), errors)
    title = f'Visual tokens of {counted(len(kept))}, {take.size} x {take.size} pixels'
    figure = draw_tokens(rows, use.counts, use.perplexity, redrawn, title, said)
    arrays: dict[str, Any] = dict(
        counts=use.counts,
        codes=np.array(chosen),
        places=_stacked([places[code] for code in chosen], -1),
        patches=_stacked([patches[code] for code in chosen], 255),
        files=np.array([str(file) for file in kept]),
        temperatures=np.array(TEMPERATURES),
        **errors,
    )
    if redrawn:
        arrays['originals'] = redrawn[0].pictures
        arrays['redrawn'] = np.stack([each.pictures for each in redrawn[1:]])
    return write_picture(figure, path, arrays)


def _count(
    take: LookedTokenizer, files: Mapping[Path, Path]
) -> tuple[CodeUse, list[Path], dict[str, float]]:
    """How codes are used, the images that could be read, and errors beside k-means."""
    use, kept = CodeUse(take.model.vocab_size, PATCHES, SEED), list[Path]()
    values = take.model.in_channels * take.size**2
    measured = set(spread(list(files), max(2, MOST_VALUES // values)))
    patches: list[Tensor] = []
    errors: list[float] = []
    for seen in look_at(take, files):
        tokens = take.model.tokenize(seen.batch)
        use.add(tokens.cpu().numpy(), len(kept))
        for file, image, ids in zip(seen.files, seen.batch, tokens, strict=True):
            if file not in measured:
                continue
            patches.append(patches_of(image[None], take.model.stride).cpu())
            if take.model.decoder is not None and len(patches) % 2 == 0:
                errors.append(float((take.model.decode(ids[None]) - image).square().mean()))
        kept += seen.files
    found = dict(recon_mse=float(np.mean(errors))) if errors else {}
    if len(patches) > 1:
        # As in training: fitted to every other image, and measured, as the tokenizer, on the rest.
        fitted, held_out = torch.cat(patches[::2]), torch.cat(patches[1::2])
        found.update(yardsticks(fitted, held_out, take.model.vocab_size))
    return use, kept, found


def _patches(
    take: LookedTokenizer, places: Mapping[int, np.ndarray], kept: Sequence[Path]
) -> dict[int, np.ndarray]:
    """Patches at places of images, in whose files is looked once more."""
    patch, found = SHOWN * take.model.stride, {}
    for code, some in places.items():
        edge = patch + 2 * (patch // 2)
        found[code] = np.full((len(some), edge, edge, 3), 255, dtype=np.uint8)
    numbers = {int(image) for some in places.values() for image in some[:, 0]}
    files = {kept[number]: Path(kept[number].name) for number in sorted(numbers)}
    of_file = {kept[number]: number for number in numbers}
    for seen in look_at(take, files):
        for file, photo in zip(seen.files, seen.photos, strict=True):
            for code, some in places.items():
                here = some[:, 0] == of_file[file]
                if here.any():
                    found[code][here] = patches_around(photo, some[here, 1:], patch)
    return found


def _decoded(take: LookedTokenizer, codes: Sequence[int]) -> dict[int, np.ndarray]:
    """What the decoder draws of a code without others around it."""
    if take.model.decoder is None:
        return {}
    ids = torch.tensor(codes, device=take.model.encoder.input.weight.device)[:, None, None]
    return dict(zip(codes, _as_photos(take, take.model.decode(ids)), strict=True))


def _redrawn(take: LookedTokenizer, files: Mapping[Path, Path]) -> list[Redrawn]:
    """Images, and what the decoder makes of their tokens, drawn at several temperatures."""
    if take.model.decoder is None:
        return []
    images = look_at_all(take, files, len(files)).batch
    logits = token_logits(take.model, images)
    best = logits.argmax(dim=1)
    rows = [Redrawn('image', _as_photos(take, images))]
    for temperature in TEMPERATURES:
        generator = torch.Generator().manual_seed(SEED)
        ids = sample_tokens(logits, temperature, generator)
        pictures = take.model.decode(ids)
        error = float((pictures - images).square().mean())
        same = float((ids == best).float().mean())
        how = 'most likely' if temperature == 0 else f'T = {temperature:g}, {same:.0%} the same'
        rows.append(Redrawn(f'{how}\nerror {error:.4f}', _as_photos(take, pictures)))
    return rows


def _as_photos(take: LookedTokenizer, images: Tensor) -> np.ndarray:
    """(B, bands, H, W) in [0, 1] -> (B, H, W, 3) uint8."""
    shown = in_three_bands(images, bands=take.how.reading.names)
    return (255 * shown).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def _tell(take: LookedTokenizer, use: CodeUse, images: int, errors: Mapping[str, float]) -> str:
    """Say what was found; what is wrong, in a line."""
    places, num_codes = int(use.counts.sum()), take.model.vocab_size
    print(f'{use.used} of {num_codes} codes in use, perplexity {use.perplexity:.1f}, the most '
          f'common in {use.counts.max() / places:.1%} of {places} places')  # fmt: skip
    names = dict(recon_mse='', kmeans_mse='k-means of patches ', mean_mse='the mean patch ')
    told = [f'{names[name]}{errors[name]:.4f}' for name in names if name in errors]
    if told:
        print(f'squared error {"; ".join(told)}')
    wrong = evidence_of_collapse(
        num_codes, places, use.used, use.perplexity, errors.get('kmeans_perplexity')
    )
    if wrong:
        print(f'the codebook has collapsed: {wrong}. What to try: '
              f'{what_to_try(take.model.quantizer)}')  # fmt: skip
        return f'The codebook has collapsed: {wrong}'
    possible = could_be_used(num_codes, places)
    if possible < 0.9 * num_codes:
        print(f'{counted(images)}: there are places for about {possible:.0f} of {num_codes} codes; '
              'whether the others are in use, more images would show')  # fmt: skip
    return ''


def _stacked(parts: Sequence[np.ndarray], fill: int) -> np.ndarray:
    """Arrays that differ in their first length, as one."""
    most = max(len(part) for part in parts)
    whole = np.full((len(parts), most, *parts[0].shape[1:]), fill, dtype=parts[0].dtype)
    for row, part in zip(whole, parts, strict=True):
        row[: len(part)] = part
    return whole
