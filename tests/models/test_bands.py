"""Backbones and tokenizers of other bands than their weights: by every way of loading."""

import pytest
import timm
import torch
from mmengine.registry import MODELS

from beit_mm.checkpoints import CheckpointError
from beit_mm.engine.running.public_weights import fit_to_model
from beit_mm.models import (
    BEiT,
    DiscreteVAE,
    DVAETargetGenerator,
    MeanColorTargetGenerator,
    PixelTargetGenerator,
    discrete_vae,
    fitting,
    load,
    pretrained_backbone,
    target_generators,
)
from beit_mm.models.whole_tokenizer import whole_tokenizer

ARCH = dict(embed_dims=48, num_layers=2, num_heads=3, feedforward_channels=96)
RGBN = ['red', 'green', 'blue', 'nir']
TOKENIZER = dict(vocab_size=64, hidden=8, num_groups=3, blocks_per_group=1, decoder_input=8)


def backbone(seed=0, **changes):
    torch.manual_seed(seed)
    settings = dict(arch=ARCH, img_size=32, patch_size=8, out_type='avg_featmap')
    return BEiT(**{**settings, **changes}).eval()


def tokenizer(seed=0, **changes):
    torch.manual_seed(seed)
    model = DiscreteVAE(**{**TOKENIZER, **changes}).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5).add_(torch.randn_like(parameter) / 20)
    return model


def with_mean(pictures):
    return torch.cat([pictures, pictures.mean(dim=1, keepdim=True)], dim=1)


def save(path, model):
    torch.save(dict(state_dict=model.state_dict()), path)
    return str(path)


@pytest.fixture
def log(monkeypatch):
    """The lines that are logged."""
    lines = []
    for module in (pretrained_backbone, discrete_vae, fitting, target_generators):
        monkeypatch.setattr(module, 'print_log', lambda line, logger: lines.append(line))
    return lines


# --- backbones --------------------------------------------------------------------------------


@pytest.mark.parametrize('way', ['init_cfg', 'load_state_dict', 'load_from', 'load'])
def test_every_way_of_loading_fits_three_bands_to_four_by_name(tmp_path, log, way):
    of_three = backbone()
    path = save(tmp_path / 'rgb.pth', of_three)
    pretrained = dict(type='Pretrained', checkpoint=path)
    model = backbone(1, in_channels=4, bands=RGBN, init_cfg=pretrained)
    if way == 'init_cfg':
        model.init_weights()
    elif way == 'load_state_dict':
        model.load_state_dict(of_three.state_dict())
    elif way == 'load_from':
        fitted = fit_to_model(model, of_three.state_dict(), path, whole=True)
        model.load_state_dict(fitted)
    else:
        model = load(path, bands=RGBN)
    pictures = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(
        model(with_mean(pictures))[0], of_three(pictures)[0], rtol=1e-4, atol=1e-5
    )
    said = [line for line in log if 'patch projection' in line]
    assert len(said) == 1
    assert '3 -> 4 bands: red, green, blue by name, nir from their mean' in said[0]


@pytest.mark.parametrize('bands', [1, 2, 13])
def test_weights_of_timm_become_those_that_timm_makes_of_them(bands):
    """The whole network: of so many bands, from one state dict of three."""
    torch.manual_seed(0)
    settings = dict(
        img_size=32, patch_size=8, embed_dim=48, depth=2, num_heads=3, mlp_ratio=2, num_classes=0
    )
    peer = timm.create_model('beit_base_patch16_224', **settings).eval()
    ours = backbone(in_channels=bands)
    ours.load_state_dict(peer.state_dict(), strict=False)
    weights = timm.models.adapt_input_conv(bands, peer.patch_embed.proj.weight.detach())
    other = timm.create_model('beit_base_patch16_224', in_chans=bands, **settings).eval()
    other.load_state_dict({**peer.state_dict(), 'patch_embed.proj.weight': weights})
    pictures = torch.rand(2, bands, 32, 32)
    torch.testing.assert_close(ours(pictures)[0], other(pictures), rtol=1e-4, atol=1e-5)


def test_loading_the_fitted_weights_again_changes_nothing():
    model = backbone(1, in_channels=4, bands=RGBN)
    model.load_state_dict(backbone().state_dict())
    again = backbone(2, in_channels=4, bands=RGBN)
    again.load_state_dict(model.state_dict())
    for name, tensor in model.state_dict().items():
        assert again.state_dict()[name].equal(tensor), name


def test_names_that_weights_bring_decide_their_order(tmp_path):
    """A backbone without names has red, green and blue, if it has three bands."""
    named = backbone(bands=['blue', 'green', 'red'])
    plain = backbone(1)
    plain.load_state_dict(named.state_dict())
    pictures = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(plain(pictures)[0], named(pictures.flip(1))[0])
    # Of other numbers nobody knows: as they come.
    four, other = backbone(in_channels=4, bands=RGBN), backbone(1, in_channels=4)
    other.load_state_dict(four.state_dict())
    assert other.patch_embed.proj.weight.equal(four.patch_embed.proj.weight)
    assert load(save(tmp_path / 'four.pth', four)).bands == tuple(RGBN)


@pytest.mark.parametrize('settings', [dict(in_channels=1), dict(bands=['blue', 'green', 'red'])])
def test_other_bands_are_refused_if_they_shall_be(tmp_path, settings):
    path = save(tmp_path / 'rgb.pth', backbone())
    model = backbone(1, fit_bands=False, **settings)
    before = model.patch_embed.proj.weight.clone()
    with pytest.raises(CheckpointError, match=r'rgb\.pth: fit_bands is False, and the bands are'):
        model.load_pretrained(path)
    assert model.patch_embed.proj.weight.equal(before)
    backbone(1, fit_bands=False).load_pretrained(path)


def test_a_run_of_other_names_is_not_resumed():
    from beit_mm.engine.running.public_weights import _check_same

    named = backbone(in_channels=4, bands=['a', 'b', 'c', 'd'])
    _check_same(named, named.state_dict(), 'run.pth')
    other = backbone(in_channels=4, bands=['a', 'b', 'd', 'c'])
    with pytest.raises(CheckpointError, match=r'another model.*band_names'):
        _check_same(other, named.state_dict(), 'run.pth')


# --- tokenizers -------------------------------------------------------------------------------


@pytest.mark.parametrize('quantizer', ['gumbel', 'vector'])
def test_a_tokenizer_of_three_bands_says_and_paints_the_same_of_four(tmp_path, log, quantizer):
    of_three = tokenizer(quantizer=quantizer)
    path = save(tmp_path / 'rgb.pth', of_three)
    settings = dict(
        type='beit_mm.DiscreteVAE', quantizer=quantizer, in_channels=4, bands=RGBN, **TOKENIZER
    )
    pictures = torch.rand(3, 3, 16, 24)
    tokens = of_three.tokenize(pictures)
    assert len(tokens.unique()) > 2
    generator = DVAETargetGenerator(settings, path)
    assert generator(with_mean(pictures)).equal(tokens)
    logits = generator.tokenizer.encode(with_mean(pictures))
    torch.testing.assert_close(logits, of_three.encode(pictures), rtol=1e-4, atol=1e-4)
    whole = whole_tokenizer(dict(tokenizer=settings, checkpoint=path))
    painted = whole.decode(tokens)
    assert painted.shape == (3, 4, 16, 24)
    torch.testing.assert_close(painted[:, :3], of_three.decode(tokens))
    said = 'tokenizer 3 -> 4 bands: red, green, blue by name, nir from their mean'
    assert log == [f'{path}: {said}', said]


def test_a_grey_tokenizer_says_of_grey_images_what_that_of_three_bands_did():
    of_three, grey = tokenizer(), tokenizer(1, in_channels=1)
    grey.load_state_dict(of_three.state_dict())
    pictures = torch.rand(3, 1, 16, 24)
    assert grey.tokenize(pictures).equal(of_three.tokenize(pictures.expand(-1, 3, -1, -1)))
    assert grey.decode(torch.zeros(1, 2, 2, dtype=torch.int64)).shape == (1, 1, 8, 8)


@pytest.mark.parametrize('quantizer', ['gumbel', 'vector'])
def test_load_from_fits_a_tokenizer_alone_and_one_in_a_pretraining(quantizer):
    of_three = tokenizer(quantizer=quantizer)
    alone = tokenizer(1, quantizer=quantizer, in_channels=4, bands=RGBN)
    expected = tokenizer(2, quantizer=quantizer, in_channels=4, bands=RGBN)
    expected.load_state_dict(of_three.state_dict())
    alone.load_state_dict(fit_to_model(alone, of_three.state_dict(), 'rgb.pth', whole=True))
    generator = DVAETargetGenerator(tokenizer(3, quantizer=quantizer, in_channels=4, bands=RGBN))
    inside = {f'tokenizer.{name}': tensor for name, tensor in of_three.state_dict().items()}
    generator.load_state_dict(fit_to_model(generator, inside, 'rgb.pth', whole=True))
    for model in (alone, generator.tokenizer):
        for name, tensor in expected.state_dict().items():
            assert model.state_dict()[name].equal(tensor), name


def test_a_tokenizer_refuses_other_bands_if_it_shall(tmp_path):
    path = save(tmp_path / 'rgb.pth', tokenizer())
    settings = dict(type='beit_mm.DiscreteVAE', in_channels=1, fit_bands=False, **TOKENIZER)
    with pytest.raises(CheckpointError, match=r'fit_bands is False.*3 -> 1 band: their sum'):
        DVAETargetGenerator(settings, path)
    with pytest.raises(CheckpointError, match='fit_bands is False'):
        MODELS.build(settings).load_state_dict(tokenizer().state_dict())


# --- targets that are pixels ------------------------------------------------------------------


@pytest.mark.parametrize('bands', [1, 2, 4])
@pytest.mark.parametrize('levels', [2, 8])
def test_classes_of_mean_colours_count_the_levels_of_all_bands(bands, levels):
    generator = MeanColorTargetGenerator(4, in_channels=bands, levels=levels)
    assert generator.vocab_size == levels**bands
    digits = torch.randint(0, levels, (2, bands, 3, 5))
    pictures = ((digits + 0.5) / levels).repeat_interleave(4, 2).repeat_interleave(4, 3)
    classes = generator(pictures)
    number = sum(digits[:, band] * levels ** (bands - 1 - band) for band in range(bands))
    assert classes.equal(number)
    assert classes.max() < generator.vocab_size
    torch.testing.assert_close(generator.picture(classes), (digits + 0.5) / levels)


@pytest.mark.parametrize('generator', [MeanColorTargetGenerator, PixelTargetGenerator])
def test_targets_are_not_made_of_other_bands(generator):
    with pytest.raises(ValueError, match=r'4 bands was given; in_channels .* is 1'):
        generator(4, in_channels=1)(torch.rand(1, 4, 8, 8))
