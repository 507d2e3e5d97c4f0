"""`beit-mm look tokens` on tokenizers and images made here."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from beit_mm.commands.choices import Sizes
from beit_mm.commands.learned import report_of_pretraining
from beit_mm.commands.look_tokens import look_tokens
from beit_mm.commands.run_folder import RunFolder
from beit_mm.commands.which_tokenizer import tokenizer_files, tokenizer_of
from beit_mm.component import ConfigError
from beit_mm.engine.measuring.collapse import evidence_of_collapse
from beit_mm.models import DiscreteVAE, DVAETargetGenerator
from beit_mm.models.discrete_vae import map_pixels
from beit_mm.models.whole_tokenizer import whole_tokenizer

STRIDE, SIZE = 4, 16
CONFIG = f"""
val_dataloader = dict(dataset=dict(pipeline=[
    dict(type='beit_mm.LoadPhoto'), dict(type='CenterCrop', crop_size={SIZE})]))
"""


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    """Twenty photos of smooth noise, as large as they are shown, and a file that is none."""
    folder = tmp_path_factory.mktemp('photos')
    rng = np.random.default_rng(0)
    for number in range(20):
        small = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        small.resize((2 * SIZE, 2 * SIZE), Image.Resampling.BICUBIC).save(
            folder / f'{number:02}.png'
        )
    (folder / 'broken.png').write_bytes(b'none')
    return folder


def seen(file):
    """An image as the tokenizer sees it."""
    pixels = torch.tensor(np.asarray(Image.open(file).convert('RGB'))).permute(2, 0, 1)[None]
    return torch.nn.functional.interpolate(
        pixels.float() / 255, (SIZE, SIZE), mode='bilinear', antialias=True, align_corners=False
    ).clamp(0, 1)


@pytest.fixture(scope='module')
def tokenizer(photos):
    """Of vectors, whose codes are vectors of the photos, so that all are in use."""
    torch.manual_seed(0)
    model = DiscreteVAE(64, 8, 3, 1, 8, quantizer='vector', code_dims=6).eval()
    images = torch.cat([seen(file) for file in sorted(photos.glob('??.png'))])
    with torch.no_grad():
        vectors = model.encoder.output[:-1](model.encoder[:-1](map_pixels(images)))
    rows = vectors.permute(0, 2, 3, 1).flatten(0, 2)
    model.encoder.output.codebook.codes.copy_(rows[torch.randperm(len(rows))[:64]])
    return model


def save(model, folder):
    state = dict(state_dict=model.state_dict(), meta=dict(cfg=CONFIG))
    torch.save(state, folder / 'tokenizer.pth')
    return folder


def test_patches_on_the_sheet_have_their_code(tokenizer, photos, tmp_path, capsys):
    look_tokens(save(tokenizer, tmp_path), [photos], out=tmp_path / 'look.png')
    said = capsys.readouterr()
    assert 'broken.png: left out' in said.err
    assert 'collapsed' not in said.out
    shown = np.load(tmp_path / 'look.npz')
    files = [str(file) for file in shown['files']]
    assert files == [str(file) for file in sorted(photos.glob('??.png'))]
    ids = np.concatenate([tokenizer.tokenize(seen(file)).numpy() for file in files])
    np.testing.assert_array_equal(shown['counts'], np.bincount(ids.ravel(), minlength=64))
    # Of every other image, held against the mean of the others.
    held_out, fitted = (torch.cat([seen(file) for file in files[i::2]]) for i in (1, 0))
    again = tokenizer.decode(tokenizer.tokenize(held_out))
    assert shown['recon_mse'] == pytest.approx(float((again - held_out).square().mean()), rel=1e-4)
    blocks = [
        images.unfold(2, STRIDE, STRIDE).unfold(3, STRIDE, STRIDE).permute(0, 2, 3, 1, 4, 5)
        for images in (held_out, fitted)
    ]
    error = (blocks[0] - blocks[1].mean(dim=(0, 1, 2))).square().mean()
    assert shown['mean_mse'] == pytest.approx(float(error), rel=1e-4)
    looked_at = 0
    patch = 2 * STRIDE
    for code, places, patches in zip(
        shown['codes'], shown['places'], shown['patches'], strict=True
    ):
        for (image, row, column), cell in zip(places, patches, strict=True):
            if image < 0:
                continue
            assert ids[image, row, column] == code
            photo = np.asarray(Image.open(files[image]))
            inside = photo[row * patch : (row + 1) * patch, column * patch : (column + 1) * patch]
            np.testing.assert_array_equal(cell[patch // 2 : -patch // 2, patch // 2 : -patch // 2],
                                          inside)  # fmt: skip
            looked_at += 1
    assert looked_at >= 60
    most = tokenizer.decode(torch.tensor(ids[[0]]))[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(shown['redrawn'][0, 0], 255 * most, atol=0.51)


def test_a_collapse_is_said_with_what_to_try(tokenizer, photos, tmp_path, capsys):
    far = DiscreteVAE(64, 8, 3, 1, 8, quantizer='vector', code_dims=6)
    far.load_state_dict(tokenizer.state_dict())
    far.encoder.output.codebook.codes[2:] += 1e4
    look_tokens(save(far, tmp_path), [photos], out=tmp_path / 'look.png')
    said = capsys.readouterr().out
    assert 'the codebook has collapsed' in said
    assert '--minutes' in said
    assert (np.load(tmp_path / 'look.npz')['counts'] > 0).sum() <= 2


@pytest.mark.parametrize(('perplexity', 'wrong'), [(7.0, True), (40.0, False)])
def test_what_pretrain_says_of_its_codebook_is_the_same(tmp_path, perplexity, wrong):
    (tmp_path / 'pretrain.py').write_text('model = dict(head=dict(vocab_size=128))\n')
    figures = dict(codes_used=64, perplexity=perplexity, places=5000, recon_mse=0.1, mean_mse=0.2)
    for stage, known in (('tokenizer', figures), ('pretrain', dict(loss=1.0))):
        folder = tmp_path / stage / '20260101_000000/vis_data'
        folder.mkdir(parents=True)
        logged = {f'tokenizer/{name}': value for name, value in known.items()}
        (folder / 'scalars.json').write_text(json.dumps({**logged, 'step': 9}) + '\n')
    told = report_of_pretraining(RunFolder(tmp_path, 'pretrain.py'), 10, 0.0)
    said = evidence_of_collapse(128, 5000, 64, perplexity)
    assert bool(said) == wrong
    assert (f'the codebook has collapsed: {said}' in told) == wrong
    assert ('what to try: train longer' in told) == wrong


def test_without_a_decoder_of_one_photo_and_of_another_size(photos, tmp_path, capsys):
    torch.manual_seed(0)
    model = DiscreteVAE(50, 8, 2, 1, with_decoder=False)
    torch.save(model.state_dict(), tmp_path / 'encoder.pth')
    file = photos / '00.png'
    look_tokens(tmp_path / 'encoder.pth', [file], size=10, out=tmp_path / 'look.png')
    shown = np.load(tmp_path / 'look.npz')
    assert shown['counts'].sum() == 25
    assert 'redrawn' not in shown
    said = capsys.readouterr().out
    assert '1 image: there are places for about 20 of 50 codes; whether the others are in' in said
    with pytest.raises(ConfigError, match='it must be a multiple of 2'):
        look_tokens(tmp_path / 'encoder.pth', [file], size=9, out=tmp_path / 'look.png')


def test_weights_are_found_in_each_kind_of_folder(tokenizer, tmp_path):
    with pytest.raises(ConfigError, match='holds no tokenizer'):
        tokenizer_files(tmp_path)
    torch.save({}, tmp_path / 'iter_6.pth')
    (tmp_path / 'last_checkpoint').write_text('/elsewhere/iter_6.pth')
    assert tokenizer_files(tmp_path) == [str(tmp_path / 'iter_6.pth')]
    other = tmp_path / 'other.pth'
    other.touch()
    (tmp_path / 'pretrain.py').write_text(
        f'model = dict(target_generator=dict(checkpoint={str(other)!r}))\n'
    )
    assert tokenizer_files(tmp_path) == [str(other)]
    save(tokenizer, tmp_path)
    assert tokenizer_files(tmp_path) == [str(tmp_path / 'tokenizer.pth')]
    for name in ('encoder.pkl', 'decoder.pkl'):
        (tmp_path / name).touch()
    both = [str(tmp_path / name) for name in ('encoder.pkl', 'decoder.pkl')]
    assert tokenizer_files(both[0]) == both


def test_another_runs_tokenizer_is_known_by_its_weights_alone(tokenizer, photos, tmp_path):
    """As ``beit-mm pretrain --tokenizer`` takes it: whatever its size, with no config beside it."""
    save(tokenizer, tmp_path)
    sizes = Sizes(32, 2 * STRIDE, 'tiny', 128, 8, 1e-3, 0)
    found = tokenizer_of(tmp_path, sizes)
    assert found.file == tmp_path / 'tokenizer.pth'
    generator = DVAETargetGenerator(dict(found.settings), str(found.file))
    image = seen(photos / '00.png')
    assert torch.equal(generator(image), tokenizer.tokenize(image))
    assert generator.tokenizer.decoder is None
    # Its pictures are drawn by the decoder, of which training knows nothing.
    whole = whole_tokenizer(dict(tokenizer=found.settings, checkpoint=str(found.file)))
    tokens = tokenizer.tokenize(image)
    assert torch.equal(whole.decode(tokens), tokenizer.decode(tokens))
    with pytest.raises(ConfigError, match=f'has a token for {2 * STRIDE} pixels'):
        tokenizer_of(tmp_path, sizes._replace(patch_size=16))
    with pytest.raises(ConfigError, match='there is no file'):
        tokenizer_of(tmp_path / 'nowhere.pth', sizes)
