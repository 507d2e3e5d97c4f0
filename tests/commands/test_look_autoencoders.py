"""`beit-mm look reconstructions` of masked autoencoders whose weights come without a config."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image
from transformers import ViTMAEConfig, ViTMAEForPreTraining

from beit_mm.checkpoints import CheckpointError, load_state_dict, read_about
from beit_mm.commands.kind_of_pixels import settle_pixels
from beit_mm.commands.look_reconstructions import look_reconstructions
from beit_mm.commands.run_folder import write_bare_weights
from beit_mm.component import ConfigError
from beit_mm.models import (
    MaskedAutoencoder,
    PixelTargetGenerator,
    convert,
    load_autoencoder,
)

SIZE = dict(img_size=32, patch_size=8)


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp('photos')
    rng = np.random.default_rng(0)
    for index in range(4):
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(
            root / f'{index}.png'
        )
    return root


def of_transformers(folder, normalize):
    torch.manual_seed(1)
    config = ViTMAEConfig(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
        image_size=32, patch_size=8, decoder_hidden_size=16, decoder_num_hidden_layers=1,
        decoder_num_attention_heads=4, decoder_intermediate_size=32, norm_pix_loss=normalize,
        layer_norm_eps=1e-6,
    )  # fmt: skip
    model = ViTMAEForPreTraining(config).eval()
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
    model.save_pretrained(folder)
    return model


@torch.no_grad()
def test_transformers_autoencoder_fills_in_what_it_does_there(photos, tmp_path, capsys):
    """And its config says whether pixels are normalised, so that nothing has to be guessed."""
    found = {}
    for normalize in (False, True):
        peer = of_transformers(tmp_path / str(normalize), normalize)
        out = tmp_path / f'{normalize}.png'
        look_reconstructions(tmp_path / str(normalize), [photos], seed=3, out=out)
        found[normalize] = np.load(out.with_suffix('.npz'))
    assert 'do not say' not in capsys.readouterr().out
    targets = torch.from_numpy(found[False]['targets'])
    images = PixelTargetGenerator(8).picture(targets)
    mask = torch.from_numpy(found[True]['mask']).flatten(1)
    assert (mask.sum(dim=1) == 12).all()
    expected = peer(images, noise=mask.float(), interpolate_pos_encoding=False)
    assert torch.equal(expected.mask.bool(), mask)
    for arrays in found.values():
        predicted = torch.from_numpy(arrays['predicted_targets']).flatten(1, 2)
        torch.testing.assert_close(predicted, expected.logits, rtol=0, atol=1e-5)
    loss = (found[True]['errors'] * found[True]['mask']).sum() / found[True]['mask'].sum()
    assert loss == pytest.approx(float(expected.loss), abs=1e-3)


def authors_file(path, **changes):
    """Of widths whose heads nobody has to tell; names as MAE's repository has them, nothing else.

    Args:
        path: Of the file.
        changes: Tensors in place of what they were; None leaves them out.
    """
    arch = dict(embed_dims=192, num_layers=1, num_heads=3, feedforward_channels=48)
    torch.manual_seed(0)
    model = MaskedAutoencoder(
        dict(type='beit_mm.VisionTransformer', arch=arch, out_type='raw', **SIZE),
        dict(type='beit_mm.MAEDecoder', encoder_dims=192, num_layers=1,
             feedforward_channels=64, **SIZE),
        dict(type='beit_mm.PixelTargetGenerator', patch_size=8),
        dict(type='beit_mm.PixelHead', embed_dims=512, num_values=192),
    )  # fmt: skip
    torch.save(dict(state_dict=model.state_dict()), path.with_name('ours.pth'))
    convert(path.with_name('ours.pth'), path, 'unilm')
    weights = {**torch.load(path)['model'], **changes}
    torch.save(dict(model={n: w for n, w in weights.items() if w is not None}), path)


def test_the_authors_file_is_looked_at(photos, tmp_path, capsys):
    authors_file(tmp_path / 'mae_visualize.pth')
    out = look_reconstructions(
        tmp_path / 'mae_visualize.pth', [photos], share=0.5, out=tmp_path / 'a.png'
    )
    assert 'the weights do not say what they predict; taken for ' in capsys.readouterr().out
    found = np.load(out.with_suffix('.npz'))
    assert (found['mask'].sum(axis=(1, 2)) == 8).all()
    with pytest.raises(ConfigError, match='leave --tokenizer out'):
        look_reconstructions(tmp_path / 'mae_visualize.pth', [photos], tokenizer=tmp_path)


@pytest.mark.parametrize('truth', [False, True])
def test_which_pixels_they_are_is_seen_from_what_is_predicted(truth):
    """Of smooth images, and of a network that is right to a third."""
    torch.manual_seed(0)
    images = torch.nn.functional.interpolate(torch.randn(6, 3, 8, 8), 32, mode='bilinear')
    mask = torch.rand(6, 4, 4) < 0.75

    def outputs(images, mask):
        targets = PixelTargetGenerator(8, truth)(images)
        return targets + torch.randn_like(targets) / 3

    task = SimpleNamespace(outputs=outputs, target_generator=PixelTargetGenerator(8, not truth))
    said = settle_pixels(task, images, mask)
    assert task.target_generator.normalize is truth
    assert ('taken for pixels normalised patch by patch' in said) is truth


DAMAGED = {
    'decoder_pred.weight': (None, r'its decoder ends in nothing; the pixels of a patch are 192'),
    'decoder_norm.bias': (None, r'no whole decoder: it lacks decoder\.norm\.bias'),
    'mask_token': (None, r'no whole decoder: it lacks mask_token'),
    'decoder_pred.bias': (torch.full((192,), torch.nan), 'holds values that are not finite'),
    'decoder_embed.weight': (torch.ones(512, 96), 'its decoder is for an encoder of width 96'),
}


@pytest.mark.parametrize('name', DAMAGED)
def test_a_damaged_decoder_is_told_in_a_line(photos, tmp_path, name):
    tensor, said = DAMAGED[name]
    authors_file(tmp_path / 'a.pth', **{name: tensor})
    with pytest.raises(CheckpointError, match=said) as stop:
        look_reconstructions(tmp_path / 'a.pth', [photos], out=tmp_path / 'a.png')
    assert '\n' not in str(stop.value)
    assert 'a.pth' in str(stop.value)


def test_a_cut_off_file_and_an_encoder_alone_are_told_in_a_line(photos, tmp_path):
    authors_file(tmp_path / 'a.pth')
    weights = torch.load(tmp_path / 'a.pth')['model']
    encoder = {n: w for n, w in weights.items() if not n.startswith(('decoder', 'mask_token'))}
    torch.save(dict(model=encoder), tmp_path / 'pretrain.pth')
    with pytest.raises(ConfigError, match=r'pretrain\.pth has neither .* nor a decoder') as stop:
        look_reconstructions(tmp_path / 'pretrain.pth', [photos])
    assert '\n' not in str(stop.value)
    content = (tmp_path / 'a.pth').read_bytes()
    (tmp_path / 'cut.pth').write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match=r'cut\.pth is damaged or no checkpoint') as stop:
        look_reconstructions(tmp_path / 'cut.pth', [photos])
    assert '\n' not in str(stop.value)


@torch.no_grad()
def test_what_a_run_leaves_says_itself_what_it_is(photos, tmp_path):
    """Far from its config; and in transformers' form, where it is transformers that reads it."""
    arch = dict(embed_dims=24, num_layers=1, num_heads=2, feedforward_channels=48)
    model = dict(
        type='beit_mm.MaskedAutoencoder',
        backbone=dict(type='beit_mm.VisionTransformer', arch=arch, out_type='raw', **SIZE),
        decoder=dict(
            type='beit_mm.MAEDecoder', encoder_dims=24, embed_dims=16, num_layers=1, num_heads=4,
            **SIZE,
        ),
        target_generator=dict(type='beit_mm.PixelTargetGenerator', patch_size=8, normalize=True),
        head=dict(type='beit_mm.PixelHead', embed_dims=16, num_values=192),
    )  # fmt: skip
    settings = {name: part for name, part in model.items() if name != 'type'}
    task = MaskedAutoencoder(**settings).eval()
    Config(dict(model=model)).dump(tmp_path / 'pretrain.py')
    torch.save(dict(state_dict=task.state_dict()), tmp_path / 'iter_1.pth')
    write_bare_weights(tmp_path / 'iter_1.pth', tmp_path / 'moved.pth', tmp_path / 'pretrain.py')
    told = read_about(tmp_path / 'moved.pth')
    assert (told['num_heads'], told['decoder_heads']) == (2, 4)
    convert(tmp_path / 'moved.pth', tmp_path / 'folder', 'huggingface')
    peer = ViTMAEForPreTraining.from_pretrained(tmp_path / 'folder').eval()
    assert peer.config.norm_pix_loss
    images, mask = torch.randn(2, 3, 32, 32), torch.rand(2, 16).argsort(dim=1) < 12
    expected = task.outputs(images, mask.view(2, 4, 4)).flatten(1, 2)
    for source in ('moved.pth', 'folder'):
        found = load_autoencoder(tmp_path / source)
        assert found.target_generator.normalize
        torch.testing.assert_close(found.outputs(images, mask.view(2, 4, 4)).flatten(1, 2),
                                   expected, rtol=0, atol=1e-6)  # fmt: skip
    logits = peer(images, noise=mask.float()).logits
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)
    assert load_state_dict(tmp_path / 'moved.pth').keys() == task.state_dict().keys()
