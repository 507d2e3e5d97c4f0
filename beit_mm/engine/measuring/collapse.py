"""Whether a codebook has collapsed: most of its codes stand for nothing."""

import math

# Of the codes that the places looked at could show, the share below which the perplexity is that
# of a collapse, as CodebookHook has it; and so it is below this share of k-means' perplexity.
SHARE, SHARE_OF_KMEANS = 0.1, 0.5
# With fewer codes, predicting them teaches little.
FEW = 32
# With fewer places to look at, nothing can be told.
LEAST_PLACES = 4 * FEW


def could_be_used(num_codes: int, places: int) -> float:
    """Codes that so many places show, on average, if all codes are used alike.

    >>> could_be_used(2, 1), could_be_used(2, 2)
    (1.0, 1.5)
    """
    return num_codes * -math.expm1(places * math.log1p(-1 / num_codes)) if num_codes > 1 else 1.0


def evidence_of_collapse(
    num_codes: int,
    places: int,
    used: int,
    perplexity: float | None = None,
    kmeans_perplexity: float | None = None,
) -> str:
    """What shows that a codebook has collapsed; '' if nothing does, or too little was looked at.

    Args:
        num_codes: The vocabulary V.
        places: Tokens that were counted.
        used: Codes among them.
        perplexity: Of their use, if known.
        kmeans_perplexity: Of as many codes by k-means on patches of the same images, if known: what
            the images themselves give, which are all alike where it is small.
    """
    if places < LEAST_PLACES:
        return ''
    possible = could_be_used(num_codes, places)
    could = f'where these images could show {possible:.0f} of {num_codes}'
    if perplexity is not None:
        kmeans = kmeans_perplexity or 0.0
        if perplexity < SHARE_OF_KMEANS * kmeans:
            return (
                f'codes are used as if there were {perplexity:.0f}, and k-means of the same '
                f'patches uses {kmeans:.0f}'
            )
        if perplexity < SHARE * possible:
            return f'codes are used as if there were {perplexity:.0f}, {could}'
    if used < max(SHARE * possible, min(FEW, possible / 2)):
        return f'{used} codes are in use, {could}'
    return ''


def what_to_try(quantizer: str) -> str:
    """What helps a tokenizer whose codes have collapsed.

    Args:
        quantizer: Of :class:`beit_mm.models.DiscreteVAE`.
    """
    if quantizer == 'gumbel':
        return (
            "train one with quantizer='vector', as beit-mm pretrain does: it sets codes that fall "
            'out of use on patches that are badly served. Or a larger kl_weight early on '
            '(DVAEAnnealingHook), a lower learning rate, a smaller vocab_size'
        )
    return (
        'train longer (--minutes), on more and more varied images; or with a lower learning rate, '
        'or a smaller vocab_size. docs/tokenizer.md has what is usual'
    )
