"""Where the attention of a network goes: its own probabilities, as its forward computes them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

# Probabilities that are there at once, 64 MB: at 1024 pixels a block of base has 200 million.
AT_ONCE = 1 << 24
# What a block gives its attention: q, k (B, heads, N, d) and a bias (heads, N, N) or None.
Seer = Callable[[int, Tensor, Tensor, Tensor | None], None]


def attention_probabilities(q: Tensor, k: Tensor, bias: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(d) + bias), (B, heads, R, N) float32 (BEiT, 2.2).

    Args:
        q: (B, heads, R, d), the queries that are of interest.
        k: (B, heads, N, d).
        bias: (heads, R, N), or None.
    """
    scores = (q.float() * q.shape[-1] ** -0.5) @ k.float().transpose(-2, -1)
    return (scores if bias is None else scores + bias.float()).softmax(dim=-1)


@contextmanager
def watched_attention(model: Any, see: Seer, blocks: Sequence[int] | None = None) -> Iterator[None]:
    """While it is open, every forward shows its queries, keys and biases; its output is the same.

    What somebody compiles runs in its plain form, which can be watched.

    Args:
        model: A :class:`beit_mm.models.BEiT`.
        see: Is called by each block with its number, and q, k and bias as the network uses them;
            :func:`attention_probabilities` makes of them what is multiplied by the values.
        blocks: Counted from 0; all, if None.
    """
    with ExitStack() as stack:
        for index in range(len(model.blocks)) if blocks is None else blocks:
            block = model.blocks[index]
            stack.enter_context(_replaced(block, 'compile_branches', False))
            attend = partial(_seen, block.attn.attend, partial(see, index))
            stack.enter_context(_replaced(block.attn, 'attend', attend))
        yield


def _seen(attend: Callable, see: Callable, q: Tensor, k: Tensor, v: Tensor, bias: Any) -> Tensor:
    see(q.detach(), k.detach(), None if bias is None else bias.detach())
    return attend(q, k, v, bias)


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """An attribute of an instance, put back whether it was the class's or its own."""
    own = name in vars(owner)
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if own:
            setattr(owner, name, before)
        else:
            delattr(owner, name)


def place_of(point: tuple[float, float], grid: tuple[int, int]) -> int:
    """The token of the patch that a point lies in; [S] is token 0.

    Args:
        point: Fractions of the height and the width, in [0, 1].
        grid: Patches (h, w).

    >>> place_of((0, 0), (2, 3)), place_of((0.5, 1), (2, 3))
    (1, 6)
    """
    row, column = (
        min(int(share * count), count - 1) for share, count in zip(point, grid, strict=True)
    )
    return 1 + row * grid[1] + column


@torch.no_grad()
def attention_rows(model: Any, images: Tensor, tokens: Sequence[int], block: int = -1) -> Tensor:
    """What some tokens attend to (BEiT, figure 2).

    Args:
        model: A :class:`beit_mm.models.BEiT`, in eval mode.
        images: (B, C, H, W), as for its forward.
        tokens: Queries, see :func:`place_of`; Q of them.
        block: Counted from 0; negative ones from the end.

    Returns:
        (B, Q, heads, 1 + h w) float32, what each gives to [S] and to the patches; adds up to 1.

    Raises:
        ValueError: If there is no such block, or the forward ends before it.
    """
    index = _block_of(model, block)
    chosen = torch.as_tensor(tokens, device=images.device)
    rows = list[Tensor]()

    def see(_: int, q: Tensor, k: Tensor, bias: Tensor | None) -> None:
        asked = None if bias is None else bias[:, chosen]
        rows.append(attention_probabilities(q[:, :, chosen], k, asked).transpose(1, 2))

    with watched_attention(model, see, [index]):
        model(images)
    return rows[0]


def _block_of(model: Any, block: int) -> int:
    count = len(model.blocks)
    if not -count <= block < count:
        raise ValueError(f'there is no block {block}; there are {count}, counted from 0')
    _check_reached(model, block % count)
    return block % count


def _check_reached(model: Any, block: int) -> None:
    last = max(model.out_indices)
    if block > last:
        raise ValueError(
            f'block {block} is not run: out_indices of the model end at {last}, load it with '
            'out_indices=-1'
        )


@torch.no_grad()
def attention_rollout(model: Any, images: Tensor) -> Tensor:
    """How [S] draws on the patches through all blocks: attention rollout.

    The heads' probabilities are averaged; the identity, for the residual branch, is added and the
    rows are made to add up to 1 again; and the matrices of all blocks are multiplied (Abnar and
    Zuidema, arXiv 2005.00928, section 3; ViT, D.8).

    Args:
        model: A :class:`beit_mm.models.BEiT`, in eval mode.
        images: (B, C, H, W), as for its forward.

    Returns:
        (B, 1 + h w) float32, the shares of [S] and of the patches in [S] behind the last block;
        adds up to 1.

    Raises:
        ValueError: If the forward ends before the last block.
    """
    _check_reached(model, len(model.blocks) - 1)
    means = list[Tensor]()

    def see(_: int, q: Tensor, k: Tensor, bias: Tensor | None) -> None:
        means.append(torch.cat([part.mean(dim=1) for part in _in_parts(q, k, bias)], dim=1))

    with watched_attention(model, see):
        model(images)
    # The row of [S] alone, from the last block to the first: a product of matrices is N times as
    # much work, more than the network's own.
    row = means[0].new_zeros(len(images), 1, means[0].shape[1])
    row[..., 0] = 1
    while means:
        row = (row + row @ means.pop()) / 2
    return row[:, 0]


@torch.no_grad()
def attention_distances(model: Any, images: Tensor) -> Tensor:
    """How far away what a patch attends to is, by block and head (ViT, figure 7, right).

    The distance of the centres of query and key, in pixels, weighted by the probabilities and
    averaged over the queries. [S] has no place: it is left out as a query and as a key, and what
    remains of a patch's probabilities is made to add up to 1.

    Args:
        model: A :class:`beit_mm.models.BEiT`, in eval mode.
        images: (B, C, H, W), as for its forward.

    Returns:
        (B, blocks, heads) float32, in pixels of the images.

    Raises:
        ValueError: If the forward ends before the last block.
    """
    _check_reached(model, len(model.blocks) - 1)
    (height, width), (rows, columns) = model.patch_size, images.shape[-2:]
    between = patch_distances((rows // height, columns // width), model.patch_size)
    between = between.to(images.device)
    found = list[Tensor]()

    def see(_: int, q: Tensor, k: Tensor, bias: Tensor | None) -> None:
        # A softmax without [S] among the keys is the one with it, made to add up to 1 again.
        patches = None if bias is None else bias[:, 1:, 1:]
        total, begin = q.new_zeros(q.shape[:2], dtype=torch.float32), 0
        for part in _in_parts(q[:, :, 1:], k[:, :, 1:], patches):
            end = begin + part.shape[2]
            total += (part * between[begin:end]).sum(dim=(2, 3))
            begin = end
        found.append(total / len(between))

    with watched_attention(model, see):
        model(images)
    return torch.stack(found, dim=1)


def patch_distances(grid: tuple[int, int], patch_size: tuple[int, int]) -> Tensor:
    """Between the centres of any two patches.

    Args:
        grid: Patches (h, w).
        patch_size: Their height and width in pixels.

    Returns:
        (h w, h w) float32, in pixels.
    """
    axes = (torch.arange(n) * size for n, size in zip(grid, patch_size, strict=True))
    centres = torch.stack(torch.meshgrid(*axes, indexing='ij'), dim=-1).flatten(0, 1).float()
    return (centres[:, None] - centres).square().sum(dim=-1).sqrt()


def _in_parts(q: Tensor, k: Tensor, bias: Tensor | None) -> Iterator[Tensor]:
    """:func:`attention_probabilities`, of some queries after others."""
    batch, heads, length = k.shape[:3]
    step = max(1, AT_ONCE // (batch * heads * length))
    for begin in range(0, q.shape[2], step):
        rows = slice(begin, begin + step)
        yield attention_probabilities(q[:, :, rows], k, None if bias is None else bias[:, rows])
