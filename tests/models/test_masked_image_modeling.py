"""The pre-training task: loss and accuracy place by place, modes, and who is trained."""

import math
import re

import pytest
import torch
import torch.distributed as dist
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement
from torch.nn.parallel import DistributedDataParallel
from torch.utils._python_dispatch import TorchDispatchMode

from beit_mm.engine import FusedAdamW
from beit_mm.models import MaskedImageModeling, MIMHead, PixelHead, mim_heads

VOCAB = 32


def config(**changes):
    settings = dict(
        backbone=dict(
            type='beit_mm.BEiT',
            arch=dict(embed_dims=48, num_layers=3, num_heads=4, feedforward_channels=96),
            img_size=(32, 48),
            patch_size=8,
            out_type='raw',
            final_norm=True,
            with_mask_token=True,
            use_rel_pos_bias=False,
            use_shared_rel_pos_bias=True,
        ),
        target_generator=dict(
            type='beit_mm.DVAETargetGenerator',
            tokenizer=dict(
                type='beit_mm.DiscreteVAE',
                vocab_size=VOCAB,
                hidden=4,
                num_groups=3,
                blocks_per_group=1,
                decoder_input=4,
            ),
        ),
        head=dict(type='beit_mm.MIMHead', embed_dims=48, vocab_size=VOCAB),
    )
    for name, change in changes.items():
        settings[name] = {**settings.get(name, {}), **change}
    return dict(type='beit_mm.MaskedImageModeling', **settings)


def small_model(**changes):
    torch.manual_seed(0)
    model = MODELS.build(config(**changes))
    with torch.no_grad():
        for parameter in model.parameters():
            # Away from the small initial values, so that predictions differ from place to place.
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
        tokenizer = model.target_generator.tokenizer
        # At random weights one token wins everywhere, and any mix-up of places goes unseen.
        logits = tokenizer.encode(batch()[0][1])
        tokenizer.encoder.output.conv.bias.sub_(logits.mean((0, 2, 3)))
        assert len(tokenizer.tokenize(batch()[0][1]).unique()) > 10
    return model


def batch(size=3, seed=1):
    """A 4 x 6 grid: 32 x 48 pixels in patches of 8, 16 x 24 in tokens of 4."""
    generator = torch.Generator().manual_seed(seed)
    views = [
        torch.randn(size, 3, 32, 48, generator=generator),
        torch.rand(size, 3, 16, 24, generator=generator),
    ]
    masks = torch.rand(size, 4, 6, generator=generator) < 0.4
    return views, masks


def samples_of(masks):
    return [BaseDataElement(mask=mask) for mask in masks]


def random_head(embed_dims=5, vocab_size=7):
    torch.manual_seed(0)
    head = MIMHead(embed_dims, vocab_size).double()
    with torch.no_grad():
        head.classifier.weight.normal_()
        head.classifier.bias.normal_()
    return head


# --- the head ---------------------------------------------------------------------------------


def test_loss_is_the_mean_negative_log_likelihood_of_the_masked_places():
    head = random_head()
    hidden = torch.randn(3, 8, 5, dtype=torch.float64)
    tokens = torch.randint(7, (3, 2, 4))
    # Images with different numbers of masked places, one with none: the mean is over places.
    mask = torch.zeros(3, 2, 4, dtype=torch.bool)
    mask[0, 0, 1] = mask[0, 1, 3] = mask[0, 1, 0] = mask[2, 0, 2] = True
    terms = []
    for b, y, x in mask.nonzero().tolist():
        state = hidden[b, y * 4 + x]
        logits = [
            sum((head.classifier.weight[v] * state).tolist()) + head.classifier.bias[v].item()
            for v in range(7)
        ]
        likelihood = math.exp(logits[tokens[b, y, x]]) / sum(map(math.exp, logits))
        terms.append(-math.log(likelihood))
    loss = head.loss(hidden, tokens, mask)['loss']
    assert len(terms) == 4
    # The head computes the loss in float32.
    assert loss.item() == pytest.approx(sum(terms) / 4, rel=1e-6)


def test_accuracy_is_the_percentage_of_masked_places_predicted():
    head = MIMHead(4, 4)
    with torch.no_grad():
        head.classifier.weight.copy_(torch.eye(4))
    # Each hidden state points at one token: the prediction is known by hand.
    predicted = torch.tensor([[0, 1, 2, 3], [3, 2, 1, 0]])
    hidden = torch.nn.functional.one_hot(predicted, 4).float()
    tokens = torch.tensor([[[0, 1], [3, 3]], [[3, 0], [1, 1]]])
    mask = torch.tensor([[[True, True], [True, False]], [[True, False], [False, True]]])
    # Masked: 0=0, 1=1, 2!=3, 3=3, 0!=1.
    assert head.loss(hidden, tokens, mask)['mim_acc'].item() == pytest.approx(60)
    assert head.loss(hidden, tokens, ~mask)['mim_acc'].item() == pytest.approx(200 / 3)


def test_the_commonest_token_is_told_of_the_masked_places_alone():
    tokens = torch.tensor([[[0, 1], [3, 3]], [[3, 0], [1, 1]]])
    mask = torch.tensor([[[True, True], [True, False]], [[True, False], [False, True]]])
    for num_masked in (None, 4):
        losses = MIMHead(4, 6, num_masked).loss(torch.randn(2, 4, 4), tokens, mask)
        # 0, 1, 3, 3, 1.
        assert losses['mim_commonest'].item() == pytest.approx(40)
        assert losses['mim_codes'].item() == 3


def losses_and_gradients(head, hidden, tokens, mask):
    hidden = hidden.clone().requires_grad_()
    head.zero_grad()
    losses = head.loss(hidden, tokens, mask)
    losses['loss'].backward()
    gradients = [p.grad.clone() for p in head.parameters()]
    return [losses['loss'].detach(), losses['mim_acc'], hidden.grad, *gradients]


def head_and_places(counts, num_masked=None):
    """Images of 24 places with so many masked places each."""
    head = random_head()
    head.num_masked = num_masked
    generator = torch.Generator().manual_seed(1)
    chances = torch.rand(len(counts), 24, generator=generator)
    ranks = chances.argsort(dim=1).argsort(dim=1)
    mask = (ranks < torch.tensor(counts)[:, None]).view(-1, 4, 6)
    hidden = torch.randn(len(counts), 24, 5, generator=generator, dtype=torch.float64)
    tokens = torch.randint(7, (len(counts), 4, 6), generator=generator)
    return head, hidden, tokens, mask


@pytest.mark.parametrize('counts', [(9, 9, 9), (9, 4, 0), (1, 0, 0)])
def test_a_known_number_of_masked_places_changes_nothing(counts):
    plain = losses_and_gradients(*head_and_places(counts))
    static = losses_and_gradients(*head_and_places(counts, num_masked=9))
    for ours, expected in zip(static, plain, strict=True):
        # The head computes the loss in float32.
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-6, check_dtype=False)


def test_more_masked_places_than_stated_are_refused():
    with pytest.raises(RuntimeError, match=r'more masked places than model\.head\.num_masked, 8'):
        losses_and_gradients(*head_and_places((9, 8, 8), num_masked=8))


class LargestTensor(TorchDispatchMode):
    """Size of the largest result with the vocabulary's width."""

    def __init__(self, width):
        super().__init__()
        self.width, self.rows = width, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        tensors = [result] if isinstance(result, torch.Tensor) else []
        rows = [len(t) for t in tensors if t.ndim == 2 and t.shape[1] == self.width]
        self.rows = max(self.rows, *rows, 0)
        return result


@pytest.mark.parametrize('num_masked', [None, 9])
def test_logits_are_held_for_some_places_at_a_time(monkeypatch, num_masked):
    case = head_and_places((9, 4, 8), num_masked)
    with LargestTensor(7) as whole:
        plain = losses_and_gradients(*case)
    monkeypatch.setattr(mim_heads, 'PLACES_AT_ONCE', 5)
    with LargestTensor(7) as pieces:
        in_pieces = losses_and_gradients(*case)
    assert whole.rows == (27 if num_masked else 21)
    assert pieces.rows == 5
    for ours, expected in zip(in_pieces, plain, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-6)


class Waits(TorchDispatchMode):
    """Operations after which a host would have to wait for its GPU."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        # The last is a number of the host made a tensor, which a GPU's host waits to be copied.
        waits = ('_local_scalar_dense', 'nonzero', 'masked_select', 'is_nonzero', 'equal')
        if name in (*waits, 'lift_fresh'):
            self.seen.append(name)
        if name in ('index', 'index_put', 'index_put_', '_index_put_impl_'):
            # A mask as an index is turned into the numbers of its true places, which are counted.
            kinds = [index.dtype for index in args[1] if index is not None]
            if torch.bool in kinds:
                self.seen.append(f'{name} by a mask')
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize('skip_dropped', [False, True])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_a_training_step_never_waits_for_the_device(dtype, skip_dropped):
    backbone = dict(drop_path_rate=0.4, skip_dropped=skip_dropped)
    model = small_model(head=dict(num_masked=24), backbone=backbone).train()
    optimizer = FusedAdamW(model.parameters())
    views, masks = batch()

    def step():
        with torch.autocast('cpu', dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            loss = model(views, samples_of(masks), mode='loss')['loss']
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 3.0)
        # Without a fused form the CPU's optimizer reads its step count, a number on the host.
        if optimizer.defaults['fused']:
            optimizer.step()
        optimizer.zero_grad()

    with Waits() as waits:
        step()
    assert waits.seen == []
    # Counting the masked places does wait; so the look-out works.
    model.head.num_masked = None
    with Waits() as waits:
        step()
    assert waits.seen


def test_places_that_are_not_masked_have_no_say():
    head = random_head()
    hidden = torch.randn(2, 8, 5, dtype=torch.float64, requires_grad=True)
    tokens = torch.randint(7, (2, 2, 4))
    mask = torch.rand(2, 2, 4) < 0.5
    before = head.loss(hidden, tokens, mask)
    before['loss'].backward()
    reached = hidden.grad.abs().amax(-1) > 0
    assert reached.equal(mask.flatten(1))
    changed = torch.where(mask.flatten(1)[..., None], hidden, hidden + 1)
    other_tokens = torch.where(mask, tokens, (tokens + 1) % 7)
    assert head.loss(changed, other_tokens, mask)['loss'] == before['loss']


def test_only_masked_places_pass_through_the_classifier():
    model = small_model()
    rows = []
    model.head.classifier.register_forward_hook(
        lambda module, inputs, output: rows.append(tuple(inputs[0].shape))
    )
    views, masks = batch()
    model(views, samples_of(masks), mode='loss')
    assert 0 < masks.sum() < masks.numel()
    assert rows == [(masks.sum(), 48)]


def test_head_starts_from_a_normal_cut_at_one_std():
    torch.manual_seed(0)
    head = MIMHead(96, 256)
    head.init_weights()
    weight = head.classifier.weight
    assert 0.0199 < weight.abs().max() <= 0.02
    # 0.02 times the std of a unit normal cut at +-1.
    assert weight.std().item() == pytest.approx(0.02 * 0.53956, rel=0.02)
    assert head.classifier.bias.abs().max() == 0


def test_loss_is_computed_in_float32_from_half_precision_logits():
    head = MIMHead(48, VOCAB).bfloat16()
    hidden = torch.randn(2, 8, 48).bfloat16()
    tokens, mask = torch.randint(VOCAB, (2, 2, 4)), torch.ones(2, 2, 4, dtype=torch.bool)
    loss = head.loss(hidden, tokens, mask)['loss']
    expected = -head(hidden).float().log_softmax(-1).gather(-1, tokens.reshape(2, 8, 1)).mean()
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-6)


# --- the modes --------------------------------------------------------------------------------


def test_loss_mode_follows_the_journey_of_an_image():
    model = small_model()
    views, masks = batch()
    losses = model(views, samples_of(masks), mode='loss')
    tokens = model.target_generator.tokenizer.tokenize(views[1])
    hidden = model.backbone(views[0], masks)[0]
    terms, hits = [], []
    for b, y, x in masks.nonzero().tolist():
        # [S] stands first.
        logits = model.head.classifier(hidden[b, 1 + 6 * y + x])
        terms.append(-logits.log_softmax(0)[tokens[b, y, x]])
        hits.append(logits.argmax() == tokens[b, y, x])
    expected = torch.stack(terms).mean()
    assert set(losses) == {'loss', 'mim_acc', 'mim_commonest', 'mim_codes'}
    torch.testing.assert_close(losses['loss'], expected, rtol=1e-5, atol=1e-5)
    assert losses['mim_acc'].item() == pytest.approx(100 * sum(hits).item() / len(hits))
    assert not losses['mim_acc'].requires_grad


@pytest.mark.parametrize('masked', [False, True])
def test_tensor_mode_is_the_backbone(masked):
    model = small_model()
    views, masks = batch()
    samples = samples_of(masks) if masked else None
    expected = model.backbone(views[0], masks if masked else None)[0]
    for inputs in (views, views[0]):
        (output,) = model(inputs, samples, mode='tensor')
        assert output.equal(expected)
    (output,) = model(views, samples)
    assert output.equal(expected)


@pytest.mark.parametrize('masked', [False, True])
def test_predict_mode_is_the_most_likely_token_of_every_patch(masked):
    model = small_model()
    views, masks = batch()
    ids = model(views[0], samples_of(masks) if masked else None, mode='predict')
    assert ids.shape == (3, 4, 6)
    assert ids.dtype == torch.int64
    assert len(ids.unique()) > 3
    hidden = model.backbone(views[0], masks if masked else None)[0]
    weight, bias = model.head.classifier.weight, model.head.classifier.bias
    for b in range(3):
        for y in range(4):
            for x in range(6):
                logits = weight @ hidden[b, 1 + 6 * y + x] + bias
                assert ids[b, y, x] == logits.argmax()


def test_masks_may_come_in_one_piece():
    """As from ``TwoViewDataPreprocessor``; then the samples are not looked at."""
    model = small_model()
    views, masks = batch()
    others = samples_of(masks.flip(0))
    losses = model(views, samples_of(masks), mode='loss')
    assert losses['loss'] != model(views, others, mode='loss')['loss']
    for samples in (None, others):
        given = model(views, samples, mode='loss', mask=masks)
        assert all(given[name].equal(losses[name]) for name in losses)
    model.data_preprocessor.forward = lambda data, training: {**data, 'mask': masks}
    for sample, mask in zip(
        model.val_step(dict(inputs=views, data_samples=others)), masks, strict=True
    ):
        assert sample.places.equal(mask)


def test_data_samples_without_a_mask_hide_nothing():
    model = small_model()
    views, _ = batch()
    samples = [BaseDataElement(metainfo=dict(img_path='a.jpg')) for _ in range(3)]
    assert model(views, samples, mode='predict').equal(model(views, mode='predict'))


def test_validation_reports_predicted_and_true_tokens_and_the_mask():
    model = small_model()
    views, masks = batch()
    for step in (model.val_step, model.test_step):
        samples = step(dict(inputs=views, data_samples=samples_of(masks)))
        predicted = model(views, samples_of(masks), mode='predict')
        tokens = model.target_generator(views[1])
        assert len(samples) == 3
        for index, sample in enumerate(samples):
            assert sample.predicted.equal(predicted[index])
            assert sample.targets.equal(tokens[index])
            assert sample.places.equal(masks[index])


# --- the ablations ----------------------------------------------------------------------------


def pixel_model(**changes):
    torch.manual_seed(0)
    parts = dict(
        target_generator=dict(type='beit_mm.PixelTargetGenerator', patch_size=4),
        head=dict(type='beit_mm.PixelHead', embed_dims=48, num_values=48),
    )
    return MODELS.build({**config(), **parts, **changes})


def test_pixel_loss_is_the_mean_squared_error_of_the_masked_patches():
    model = pixel_model()
    with torch.no_grad():
        model.head.regressor.weight.normal_()
        model.head.regressor.bias.normal_()
    views, masks = batch()
    hidden = model.backbone(views[0], masks)[0]
    squares = []
    for b, y, x in masks.nonzero().tolist():
        state = hidden[b, 1 + 6 * y + x]
        values = model.head.regressor.weight @ state + model.head.regressor.bias
        patch = views[1][b, :, 4 * y : 4 * y + 4, 4 * x : 4 * x + 4]
        squares += [
            (values[(row * 4 + column) * 3 + channel] - patch[channel, row, column]) ** 2
            for row in range(4)
            for column in range(4)
            for channel in range(3)
        ]
    losses = model(views, samples_of(masks), mode='loss')
    assert set(losses) == {'loss'}
    torch.testing.assert_close(losses['loss'], torch.stack(squares).mean(), rtol=1e-4, atol=1e-5)


def test_pixel_predictions_are_of_every_patch_and_reported_with_their_targets():
    model = pixel_model()
    views, masks = batch()
    predicted = model(views, samples_of(masks), mode='predict')
    hidden = model.backbone(views[0], masks)[0]
    assert predicted.shape == (3, 4, 6, 48)
    torch.testing.assert_close(predicted[2, 3, 1], model.head.regressor(hidden[2, 1 + 6 * 3 + 1]))
    samples = model.val_step(dict(inputs=views, data_samples=samples_of(masks)))
    for index, sample in enumerate(samples):
        assert sample.predicted.equal(predicted[index])
        patch = views[1][index, :, 8:12, 20:24]
        assert sample.targets[2, 5].equal(patch.permute(1, 2, 0).flatten())
        assert sample.places.equal(masks[index])


def test_pixel_head_starts_small_and_refuses_a_batch_without_masks():
    head = PixelHead(96, 48)
    head.init_weights()
    assert 0.019 < head.regressor.weight.abs().max() <= 0.02
    assert head.regressor.bias.abs().max() == 0
    with pytest.raises(ValueError, match='hides no patch'):
        head.loss(torch.zeros(1, 4, 96), torch.zeros(1, 2, 2, 48), torch.zeros(1, 2, 2).bool())


@pytest.mark.parametrize('share', [0.4, 0.0])
def test_predict_all_counts_every_place_under_the_same_mask(share):
    """Equal to the head's loss under a full mask, with the backbone seeing the given one."""
    model = small_model()
    model.predict_all = MODELS.build({**config(), 'predict_all': True}).predict_all
    views, masks = batch()
    masks = torch.rand(masks.shape) < share
    losses = model(views, samples_of(masks), mode='loss')
    tokens = model.target_generator(views[1])
    logits = model.head.classifier(model.backbone(views[0], masks)[0][:, 1:])
    terms = [
        -logits[b, n].log_softmax(0)[tokens[b].flatten()[n]] for b in range(3) for n in range(24)
    ]
    torch.testing.assert_close(losses['loss'], torch.stack(terms).mean(), rtol=1e-5, atol=1e-5)
    for sample in model.val_step(dict(inputs=views, data_samples=samples_of(masks))):
        assert sample.places.all()


# --- who is trained ---------------------------------------------------------------------------


@pytest.mark.parametrize('paramwise', [None, dict(norm_decay_mult=0.0, bias_decay_mult=0.0)])
def test_an_optimizer_wrapper_lists_all_but_the_tokenizer(paramwise):
    model = small_model()
    settings = dict(optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05))
    wrapper = build_optim_wrapper(
        model, dict(type='OptimWrapper', **settings, paramwise_cfg=paramwise)
    )
    # The wrapper's own list ends with a tensor that only tracks the base learning rate.
    groups = wrapper.optimizer.param_groups
    listed = {p.data_ptr() for group in groups for p in group['params']}
    trained = {p.data_ptr() for part in (model.backbone, model.head) for p in part.parameters()}
    tokenizer = {t.data_ptr() for t in model.target_generator.state_dict().values()}
    assert len(tokenizer) > 10
    assert listed == trained
    assert not listed & tokenizer


def test_training_steps_move_all_but_the_tokenizer():
    model = small_model().train()
    settings = dict(optimizer=dict(type='AdamW', lr=1e-2, weight_decay=0.5))
    wrapper = build_optim_wrapper(model, dict(type='OptimWrapper', **settings))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    views, masks = batch()
    data = dict(inputs=views, data_samples=samples_of(masks))
    losses = [model.train_step(data, wrapper)['loss'].item() for _ in range(20)]
    assert losses[-1] < losses[0] / 2
    # The tokenizer is frozen; the grid that the positions are made for is no weight.
    still = ('target_generator.', 'backbone.patch_grid')
    for name, tensor in model.state_dict().items():
        assert tensor.equal(before[name]) == name.startswith(still), name


def test_every_trainable_parameter_gets_a_gradient():
    model = small_model()
    views, masks = batch()
    model(views, samples_of(masks), mode='loss')['loss'].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_distributed_training_needs_no_search_for_unused_parameters(tmp_path):
    model = small_model(backbone=dict(drop_path_rate=0.5))
    store = dist.FileStore(str(tmp_path / 'store'), 1)
    dist.init_process_group('gloo', store=store, rank=0, world_size=1)
    try:
        wrapped = DistributedDataParallel(model, broadcast_buffers=False)
        views, masks = batch()
        # A parameter without a gradient in one step stops the next one.
        for _ in range(3):
            wrapped(views, samples_of(masks), mode='loss')['loss'].backward()
    finally:
        dist.destroy_process_group()


def test_init_weights_loads_the_backbones_checkpoint_and_keeps_the_rest(tmp_path):
    path = str(tmp_path / 'backbone.pth')
    weights = small_model().backbone.state_dict()
    weights['cls_token'].fill_(0.125)
    torch.save(weights, path)
    model = small_model(backbone=dict(init_cfg=dict(type='Pretrained', checkpoint=path)))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.init_weights()
    assert model.backbone.cls_token.eq(0.125).all()
    for name, tensor in model.state_dict().items():
        if name.startswith('backbone.'):
            assert tensor.equal(weights[name.removeprefix('backbone.')]), name
        else:
            assert tensor.equal(before[name]), name


# --- what does not fit ------------------------------------------------------------------------


def test_another_vocabulary_than_the_tokenizers_is_refused_by_both_numbers():
    with pytest.raises(ValueError, match=r'model\.head\.vocab_size is 33 .* 32 '):
        small_model(head=dict(vocab_size=33))


def test_a_head_of_values_for_targets_of_classes_is_refused_and_the_other_way_round():
    head = dict(type='beit_mm.PixelHead', embed_dims=48, num_values=192)
    with pytest.raises(ValueError, match=r'vocab_size is None \(PixelHead\).* 32 \(DVAE'):
        MODELS.build({**config(), 'head': head})
    pixels = dict(type='beit_mm.PixelTargetGenerator', patch_size=8)
    with pytest.raises(ValueError, match=r'vocab_size is 32 \(MIMHead\).* None \(Pixel'):
        MODELS.build({**config(), 'target_generator': pixels})
    with pytest.raises(ValueError, match=r'num_values is 192 .* 48 '):
        MODELS.build({**config(), 'head': head, 'target_generator': {**pixels, 'patch_size': 4}})


def test_a_tokenizer_view_of_another_grid_is_refused_by_both_grids():
    model = small_model()
    views, masks = batch()
    message = re.escape('gives 8 x 12 tokens') + '.*' + re.escape('mask is 4 x 6') + '.*stride, 4'
    with pytest.raises(ValueError, match=message):
        model([views[0], torch.rand(3, 3, 32, 48)], samples_of(masks), mode='loss')


def test_a_mask_of_another_grid_than_the_backbones_is_refused():
    model = small_model()
    views, masks = batch()
    with pytest.raises(ValueError, match='4 x 6'):
        model(views[0], samples_of(masks[:, :3]), mode='predict')


def test_loss_mode_without_two_views_or_masks_is_refused():
    model = small_model()
    views, masks = batch()
    with pytest.raises(ValueError, match=r'not 1 view.*a mask'):
        model(views[0], samples_of(masks), mode='loss')
    with pytest.raises(ValueError, match=r'not 2 view.*no mask'):
        model(views, mode='loss')


def test_an_unknown_mode_is_refused_by_name():
    views, masks = batch()
    with pytest.raises(ValueError, match=r"'train'.*'tensor', 'loss', 'predict'"):
        small_model()(views, samples_of(masks), mode='train')


def test_the_class_is_the_registered_one():
    assert type(small_model()) is MaskedImageModeling
