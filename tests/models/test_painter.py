"""What turns targets into images: the mean over a codebook, colors, pixels that are put back."""

from functools import partial

import pytest
import torch

from beit_mm.models import DiscreteVAE, MeanColorTargetGenerator, PixelTargetGenerator
from beit_mm.models.data_preprocessor import TwoViewDataPreprocessor, in_colors
from beit_mm.models.painter import decode, mean_colors, painter_of, put_back

VOCAB = 5


def tokenizer_of(quantizer):
    torch.manual_seed(0)
    made = DiscreteVAE(vocab_size=VOCAB, hidden=4, num_groups=2, blocks_per_group=1,
                       decoder_input=4, code_dims=3, quantizer=quantizer)  # fmt: skip
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return made.eval()


def shares_of_places():
    torch.manual_seed(1)
    return torch.randn(2, 3, 4, VOCAB).mul(2).softmax(dim=-1)


def test_the_mean_over_a_codebook_is_the_sum_of_its_vectors_by_their_shares():
    tokenizer, shares = tokenizer_of('vector'), shares_of_places()
    codes = torch.zeros(2, 3, 3, 4)
    for image in range(2):
        for row in range(3):
            for column in range(4):
                for token in range(VOCAB):
                    vector = tokenizer.encoder.output.codebook.codes[token]
                    codes[image, :, row, column] += shares[image, row, column, token] * vector
    with torch.no_grad():
        wanted = tokenizer.decoder(codes).clamp(0, 1)
    torch.testing.assert_close(decode(tokenizer, shares), wanted)


def test_the_papers_tokenizer_is_given_the_shares_as_in_its_training(monkeypatch):
    tokenizer, shares = tokenizer_of('gumbel'), shares_of_places()
    given = []
    tokenizer.decoder.register_forward_pre_hook(lambda module, args: given.append(args[0]))
    images = decode(tokenizer, shares)
    assert torch.equal(given[0], shares.permute(0, 3, 1, 2))
    with torch.no_grad():
        mean, _ = tokenizer._decode_codes(given[0])
    torch.testing.assert_close(images, ((mean.sigmoid() - 0.1) / 0.8).clamp(0, 1))


@pytest.mark.parametrize('quantizer', ['vector', 'gumbel'])
def test_shares_of_one_token_are_that_token(quantizer):
    tokenizer = tokenizer_of(quantizer)
    tokens = torch.randint(VOCAB, (2, 3, 4))
    shares = torch.nn.functional.one_hot(tokens, VOCAB).float()
    torch.testing.assert_close(decode(tokenizer, shares), tokenizer.decode(tokens))
    assert not torch.allclose(decode(tokenizer, shares), decode(tokenizer, shares_of_places()))


def test_the_mean_of_colors_is_the_sum_of_them_by_their_shares():
    generator = MeanColorTargetGenerator(patch_size=2, levels=2)
    classes = torch.tensor([[[0, 7, 5]]])
    one_hot = torch.nn.functional.one_hot(classes, 8).float()
    torch.testing.assert_close(mean_colors(generator, one_hot), generator.picture(classes))
    halves = (one_hot + torch.nn.functional.one_hot(torch.tensor([[[7, 7, 7]]]), 8)) / 2
    wanted = (generator.picture(classes) + 0.75) / 2
    torch.testing.assert_close(mean_colors(generator, halves), wanted)


def test_normalised_pixels_that_are_predicted_perfectly_are_put_back_exactly():
    images = torch.rand(2, 3, 8, 12)
    # A patch of one color, whose spread is none.
    images[0, :, :4, :4] = 0.3
    generator = PixelTargetGenerator(patch_size=4, normalize=True)
    targets = generator(images)
    assert not torch.allclose(generator.picture(targets), images, atol=0.1)
    torch.testing.assert_close(put_back(generator, targets, images), images, atol=1e-6, rtol=0)


def test_what_gives_the_answer_away_is_said():
    painter = painter_of(PixelTargetGenerator(normalize=True))
    assert 'mean and the spread of its own pixels' in painter.note.replace('\n', ' ')
    assert painter_of(PixelTargetGenerator()).note == ''
    assert painter_of(MeanColorTargetGenerator()).note == ''
    assert painter_of(torch.nn.Identity()) is None


def test_normalised_patches_of_a_normalised_view_come_back_as_they_were():
    """MAE's targets are of the view that the encoder is given."""
    images = torch.randint(0, 256, (2, 3, 16, 24)).float()
    view = TwoViewDataPreprocessor(mean=[120.0, 60.0, 30.0], std=[50.0, 20.0, 70.0])
    normalised = view(dict(inputs=[images], data_samples=None))['inputs'][0]
    for normalize in (False, True):
        generator = PixelTargetGenerator(patch_size=8, normalize=normalize)
        painter = painter_of(generator, in_colors=partial(in_colors, view))
        painted = painter.paint(generator(normalised), normalised)
        torch.testing.assert_close(painted, images / 255, atol=1e-5, rtol=0)
