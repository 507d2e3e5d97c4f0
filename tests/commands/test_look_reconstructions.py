"""`beit-mm look reconstructions` and `look film`: what they read, draw and refuse."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image, ImageOps
from transformers import BeitConfig, BeitForMaskedImageModeling

from beit_mm.checkpoints import convert_state_dict, load_state_dict
from beit_mm.commands import look_film as look_film_module
from beit_mm.commands import look_reconstructions as reconstructions_look
from beit_mm.commands.look_film import look_film
from beit_mm.commands.look_reconstructions import look_reconstructions
from beit_mm.commands.pretrained_task import pretrained_task
from beit_mm.component import ConfigError
from beit_mm.models import DiscreteVAE, MaskedImageModeling

VOCAB = 16
TOKENIZER = dict(type='beit_mm.DiscreteVAE', quantizer='vector', vocab_size=VOCAB, hidden=4,
                 num_groups=3, blocks_per_group=1, decoder_input=4, code_dims=4)  # fmt: skip


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """Photos, one of them broken, and a tokenizer as a run of its own leaves it."""
    root = tmp_path_factory.mktemp('look')
    rng = np.random.default_rng(0)
    (root / 'photos').mkdir()
    for index in range(5):
        pixels = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / 'photos' / f'{index}.png')
    (root / 'photos' / 'broken.png').write_bytes(b'no image')
    torch.manual_seed(0)
    made = DiscreteVAE(**{k: v for k, v in TOKENIZER.items() if k != 'type'})
    cfg = Config(dict(model=TOKENIZER)).pretty_text
    torch.save(dict(state_dict=made.state_dict(), meta=dict(cfg=cfg)), root / 'tokenizer.pth')
    return root


@pytest.fixture(scope='module')
def public(place):
    """Hugging Face's model, and the same as Microsoft publishes it."""
    torch.manual_seed(1)
    config = BeitConfig(
        vocab_size=VOCAB, hidden_size=24, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=48, image_size=32, patch_size=8, use_mask_token=True,
        use_shared_relative_position_bias=True, use_relative_position_bias=False,
    )  # fmt: skip
    model = BeitForMaskedImageModeling(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    model.save_pretrained(place / 'hf')
    weights = convert_state_dict(load_state_dict(place / 'hf'), 'unilm')
    torch.save(dict(model=weights), place / 'unilm.pth')
    bare = {name: w for name, w in weights.items() if not name.startswith('lm_head')}
    torch.save(bare, place / 'bare.pth')
    return model


def run_of(place, name, generator, head):
    """A checkpoint as the Runner writes it, with its config inside."""
    colors = dict(mean=[120.0] * 3, std=[60.0] * 3, second_mean=[0.0] * 3, second_std=[255.0] * 3)
    model = dict(
        backbone=dict(
            type='beit_mm.BEiT', img_size=32, patch_size=8, out_type='raw', with_mask_token=True,
            arch=dict(embed_dims=24, num_layers=1, num_heads=2, feedforward_channels=48),
        ),
        target_generator=generator,
        head=head,
        data_preprocessor=dict(type='beit_mm.TwoViewDataPreprocessor', **colors),
    )  # fmt: skip
    torch.manual_seed(2)
    task = MaskedImageModeling(**model)
    cfg = Config(dict(model=dict(model, type='beit_mm.MaskedImageModeling')))
    path = place / name
    torch.save(dict(state_dict=task.state_dict(), meta=dict(cfg=cfg.pretty_text)), path)
    return path


def of_tokens(place, file='tokenizer.pth'):
    return dict(type='beit_mm.DVAETargetGenerator', tokenizer=dict(TOKENIZER),
                checkpoint=str(place / file))  # fmt: skip


HEAD = dict(type='beit_mm.MIMHead', embed_dims=24, vocab_size=VOCAB)


@pytest.mark.parametrize('name', ['hf', 'unilm.pth'])
def test_public_weights_predict_as_in_their_own_library(name, place, public, tmp_path):
    out = look_reconstructions(
        place / name, [place / 'photos'], tokenizer=place / 'tokenizer.pth', seed=3,
        out=tmp_path / 'a.png',
    )  # fmt: skip
    found = np.load(out.with_suffix('.npz'))
    assert sorted(found['names']) == [f'{index}.png' for index in range(5)]
    mask = torch.from_numpy(found['mask'])
    images = torch.from_numpy(found['original'].astype(np.float32))
    take = pretrained_task(place / name, place / 'tokenizer.pth').take
    pixels = (images * 255).permute(0, 2, 3, 1).round().numpy()
    with torch.no_grad():
        logits = public(take.normalised(list(pixels)), bool_masked_pos=mask.flatten(1)).logits
    predicted = torch.from_numpy(found['predicted_targets']).flatten(1)
    # Half precision holds the images to a two-thousandth.
    assert (logits.argmax(dim=-1) == predicted)[mask.flatten(1)].float().mean() > 0.97
    pasted, visible = found['pasted into the original'], ~found['mask'].repeat(8, 1).repeat(8, 2)
    for image in range(5):
        assert np.array_equal(
            pasted[image][:, visible[image]], found['original'][image][:, visible[image]]
        )


@pytest.mark.parametrize(('kind', 'share'), [('blockwise', 0.4), ('random', 0.75)])
def test_masks_have_the_share_and_follow_the_seed(kind, share, place, tmp_path, monkeypatch):
    model = run_of(place, 'run.pth', of_tokens(place), HEAD)

    def masks(seed, count=8):
        out = look_reconstructions(
            model, [place / 'photos'], mask=kind, share=share, seed=seed, count=count,
            out=tmp_path / 'a.png',
        )  # fmt: skip
        return np.load(out.with_suffix('.npz'))['mask']

    first = masks(0)
    assert (first.sum(axis=(1, 2)) == int(share * 16)).all()
    assert np.array_equal(first, masks(0))
    assert not np.array_equal(first, masks(1))
    assert len(masks(0, count=1)) == 1
    # In batches as at once, and of each image others.
    monkeypatch.setattr(reconstructions_look, 'BATCH', 2)
    assert np.array_equal(first, masks(0))
    assert not np.array_equal(first[0], first[2])
    assert len(masks(0, count=3)) == 3


def test_images_are_read_as_those_of_the_run(place):
    path = run_of(place, 'ranges.pth', of_tokens(place), HEAD)
    state = torch.load(path, weights_only=False)
    steps = "[dict(type='beit_mm.LoadPhoto', value_range=(0, 510))]"
    state['meta']['cfg'] += f'\nval_dataloader = dict(dataset=dict(pipeline={steps}))\n'
    torch.save(state, path)
    how = pretrained_task(path).take.how
    assert tuple(how.value_range) == (0, 510)
    assert (how.mean, how.std) == ([120.0] * 3, [60.0] * 3)


@pytest.mark.parametrize('normalize', [False, True])
def test_pixels_are_drawn_without_a_tokenizer(normalize, place, tmp_path, capsys):
    generator = dict(type='beit_mm.PixelTargetGenerator', patch_size=8, normalize=normalize)
    head = dict(type='beit_mm.PixelHead', embed_dims=24, num_values=192)
    model = run_of(place, 'pixels.pth', generator, head)
    out = look_reconstructions(model, [place / 'photos'], out=tmp_path / 'a.png')
    found = np.load(out.with_suffix('.npz'))
    assert {'original', 'masked input', 'predicted'} <= set(found)
    for name, original in zip(found['names'], found['original'], strict=True):
        whole = Image.open(place / 'photos' / name)
        wanted = np.asarray(ImageOps.fit(whole, (32, 32), Image.BICUBIC)).transpose(2, 0, 1)
        # Half precision holds them to a two-thousandth.
        np.testing.assert_allclose(original, wanted / 255, atol=1e-3)
    error = (found['errors'] * found['mask']).sum() / found['mask'].sum()
    assert f'squared error {error:.4f}' in capsys.readouterr().out
    with pytest.raises(ConfigError, match='leave --tokenizer out'):
        look_reconstructions(model, [place / 'photos'], tokenizer=place / 'tokenizer.pth')
    with pytest.raises(ConfigError, match=r'--temperature is 0\.7, .* are values and no tokens'):
        look_reconstructions(model, [place / 'photos'], temperature=0.7, out=tmp_path / 'b.png')


def test_without_a_decoder_what_can_be_drawn_is(place, tmp_path, capsys):
    state = torch.load(place / 'tokenizer.pth', weights_only=False)
    kept = {n: w for n, w in state['state_dict'].items() if not n.startswith('decoder.')}
    torch.save(dict(state_dict=kept), place / 'encoder.pth')
    model = run_of(place, 'encoder_run.pth', of_tokens(place, 'encoder.pth'), HEAD)
    for gone in (False, True):
        if gone:
            # The run's own checkpoint has the encoder too.
            (place / 'encoder.pth').unlink()
        out = look_reconstructions(model, [place / 'photos'], out=tmp_path / f'{gone}.png')
        found = np.load(out.with_suffix('.npz'))
        assert 'masked input' in found
        assert 'pasted into the original' not in found
        said = capsys.readouterr().out
        assert 'decoder is missing: ' in said
        assert 'hidden tokens predicted' in said


def test_tokens_of_a_cache_need_the_tokenizer_that_made_them(place, tmp_path):
    cache = dict(type='beit_mm.CachedTargetGenerator', vocab_size=VOCAB)
    model = run_of(place, 'cached.pth', cache, HEAD)
    with pytest.raises(ConfigError, match='from a cache: give the tokenizer'):
        look_reconstructions(model, [place / 'photos'], out=tmp_path / 'a.png')
    given = dict(tokenizer=place / 'tokenizer.pth')
    alone = look_reconstructions(model, [place / 'photos'], out=tmp_path / 'a.png', **given)
    model = run_of(place, 'whole.pth', dict(cache, generator=of_tokens(place)), HEAD)
    whole = look_reconstructions(model, [place / 'photos'], out=tmp_path / 'b.png')
    left, right = (np.load(path.with_suffix('.npz')) for path in (alone, whole))
    assert np.array_equal(left['targets'], right['targets'])
    assert "tokenizer's reconstruction" in right


def test_what_is_no_pretraining_is_told_with_what_to_give(place, public, tmp_path):
    photos = [place / 'photos']
    with pytest.raises(ConfigError, match=r'neither a head .* nor .*; give a pre-training'):
        look_reconstructions(place / 'bare.pth', photos)
    with pytest.raises(ConfigError, match=rf'predicts {VOCAB} visual tokens .* give --tokenizer'):
        look_reconstructions(place / 'hf', photos)
    with pytest.raises(ConfigError, match=r'is of a beit_mm\.DiscreteVAE, and no pre-training'):
        look_reconstructions(place / 'tokenizer.pth', photos)
    with pytest.raises(ConfigError, match=r'--share is 1\.5; it must be between 0 and 1'):
        look_reconstructions(place / 'hf', photos, share=1.5)
    with pytest.raises(ConfigError, match="--mask is 'blocks'; it must be one of blockwise, rand"):
        look_reconstructions(place / 'hf', photos, mask='blocks')
    other = dict(TOKENIZER, vocab_size=8)
    made = DiscreteVAE(**{k: v for k, v in other.items() if k != 'type'})
    cfg = Config(dict(model=other)).pretty_text
    torch.save(dict(state_dict=made.state_dict(), meta=dict(cfg=cfg)), tmp_path / 'other.pth')
    with pytest.raises(ConfigError, match='has 8 visual tokens, and the head predicts 16'):
        look_reconstructions(place / 'hf', photos, tokenizer=tmp_path / 'other.pth')


def test_a_film_is_found_in_a_commands_folder_and_in_its_stage(tmp_path, monkeypatch, capsys):
    pictures = tmp_path / 'run/pretrain/20260101_000000/vis_data/vis_image'
    pictures.mkdir(parents=True)
    for iteration in (0, 50, 100):
        Image.new('RGB', (200, 100), (iteration,) * 3).save(pictures / f'learning_{iteration}.png')
    for given in ('run', 'run/pretrain'):
        for ending in ('gif', 'mp4', 'webp'):
            film = look_film(tmp_path / given, tmp_path / f'film.{ending}')
            assert film.stat().st_size > 500
    with Image.open(tmp_path / 'film.gif') as film:
        assert film.n_frames == 3
    monkeypatch.setattr(look_film_module, 'FRAMES', 2)
    look_film(tmp_path / 'run', tmp_path / 'film.gif')
    with Image.open(tmp_path / 'film.gif') as film:
        assert film.n_frames == 2
    left = sorted(path.name for path in tmp_path.iterdir() if path.is_file())
    assert left == ['film.gif', 'film.mp4', 'film.webp']
    with pytest.raises(ConfigError, match=r'must end in \.gif, \.webp, \.mp4'):
        look_film(tmp_path / 'run', tmp_path / 'film.avi')
    single = tmp_path / 'single/20260101_000000/vis_data/vis_image'
    single.mkdir(parents=True)
    Image.new('RGB', (200, 100)).save(single / 'learning_70.png')
    capsys.readouterr()
    film = look_film(tmp_path / 'single', tmp_path / 'film.webp')
    said = capsys.readouterr().out
    assert said.startswith(
        f'{film}, a single picture, of iteration 70: the run has drawn no others'
    )
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ConfigError, match='has no pictures of a run'):
        look_film(tmp_path / 'empty', tmp_path / 'film.gif')
