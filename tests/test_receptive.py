"Receptive fields: the recurrence, the gradient and the walk back agree, on known networks and on random ones."
import functools
import warnings

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from torch import nn
from torch.utils.checkpoint import checkpoint

import convlab.trace.receptive
from conftest import root
from convlab import compat  # makes torchvision importable  # noqa: F401
from convlab.arithmetic import arithmetic
from convlab.convolutions import conv2d
from convlab.norms import BatchNorm2d
from convlab.receptive import (came_from, effective_receptive_field, field_sizes, gradient_probe, image_box,
                               projective_field, receptive_field, show_precedents, trace_precedents)
from convlab.trace.probing import bounding_box
from convlab.trace.tracing import trace_model
from nets import L

from torchvision import models


def build(name):
    "The network without its head and without the time that it takes to initialize it: the probe brings its own parameters."
    kw = dict(init_weights=False) if name in ('googlenet', 'inception_v3') else {}
    with torch.device('meta'): model = models.get_model(name, weights=None, **kw)
    for head in ('classifier', 'fc'):
        if hasattr(model, head): setattr(model, head, nn.Identity())
    return model.to_empty(device='cpu')


# name, image, layer, theoretical size (None: the whole image)
NETS = [('resnet18', 192, 'layer2', 99), ('resnet18', 256, 'layer3', 211), ('alexnet', 224, 'features', 195), ('vgg11', 160, 'features', 150),
        ('mobilenet_v2', 96, 'features.5', 43), ('googlenet', 128, 'inception4a', 107), ('inception_v3', 107, 'Mixed_5c', 95),
        ('densenet121', 96, 'features.denseblock1', 59), ('shufflenet_v2_x1_0', 128, 'stage2', 63), ('convnext_tiny', 96, 'features.1', 76),
        ('efficientnet_b0', 64, 'features.0', 3), ('efficientnet_b0', 64, 'features.2', None), ('mobilenet_v3_small', 64, 'features.2', None),
        ('squeezenet1_1', 127, 'features', 207)]


@pytest.mark.parametrize('name,n,layer,size', NETS)
def test_three_ways_agree_on_known_networks(name, n, layer, size, monkeypatch):
    model = build(name)
    traced = functools.cache(trace_model)  # once is enough
    monkeypatch.setattr(convlab.trace.receptive, 'trace_model', lambda model, size, inputs=None: traced(model, size))
    rf = receptive_field(model, (3, n, n), layer)
    assert rf.whole == ((size is None,)*2) and rf.size == ((size or n,)*2)
    last = len(rf.first[0]) - 1
    for row, col in ((last//2, last//2), (0, last)):
        box = gradient_probe(model, (3, n, n), layer, row, col)
        assert image_box(trace_precedents(model, (3, n, n), layer, row, col)) == box
        theory = rf.box(row, col)
        if row: assert theory == box and (size is None or size > n//2 or tuple(b-a for a, b in box) == rf.size)
        # at the last column the recurrence may add pixels that the strides leave over, never take any away
        else: assert theory[0] == box[0] and theory[1][0] == box[1][0] and 0 <= theory[1][1] - box[1][1] < rf.jump[1]


def late_strides(m):
    "The ResNet of TF-Slim: the stride is in the last block of a stage."
    for stage, after in ((m.layer1, m.layer2), (m.layer2, m.layer3), (m.layer3, m.layer4)):
        after[0].conv2.stride = after[0].downsample[0].stride = (1, 1)
        stage[-1].conv2.stride, stage[-1].downsample = (2, 2), nn.MaxPool2d(1, stride=2)
    return m


def mobilenet_v1():
    "Howard et al. 2017, table 1: the convolutions."
    layers = [nn.Conv2d(3, 8, 3, 2, 1)]
    for s in (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1): layers += [nn.Conv2d(8, 8, 3, s, 1, groups=8), nn.Conv2d(8, 8, 1)]
    return nn.Sequential(*layers)


@pytest.mark.parametrize('make,layer,size', [
    (lambda: models.alexnet(weights=None), 'features.0', 11), (lambda: models.alexnet(weights=None), 'features.2', 19),
    (lambda: models.alexnet(weights=None), 'features', 195), (lambda: models.vgg16(weights=None), 'features', 212),
    (lambda: models.inception_v3(weights=None, init_weights=False), 'Mixed_7c', 1311), (mobilenet_v1, None, 315),
    (lambda: late_strides(models.resnet50(weights=None)), 'layer4', 483),
    (lambda: late_strides(models.resnet101(weights=None)), 'layer4', 1027),
    (lambda: late_strides(models.resnet152(weights=None)), 'layer4', 1507)])
def test_published_sizes(make, layer, size):
    "Araujo, Norris and Sim 2019, and the tables of their library (github.com/google-research/receptive_field)."
    with torch.device('meta'): model = make()
    rf = receptive_field(model, (3, 299, 299), layer)
    assert rf.size == (size, size)


class Residual(nn.Module):
    def __init__(self, ks, dilation, pad_mode):
        super().__init__()
        self.conv = nn.Conv2d(2, 2, ks, padding=dilation*(ks//2), dilation=dilation, padding_mode=pad_mode)

    def forward(self, x): return F.relu(x + self.conv(x))


class Concat(nn.Module):
    def __init__(self, a, b):
        super().__init__()
        self.a, self.b = a, b

    def forward(self, x):
        a, b = self.a(x), self.b(x)
        n, m = min(a.shape[2], b.shape[2]), min(a.shape[3], b.shape[3])
        return torch.cat([a[:, :1, :n, :m], b[:, 1:, :n, :m]], 1)


def size_after(n, ks, s, p, d): return (n + 2*p - d*(ks-1) - 1)//s + 1


@st.composite
def window(draw, n):
    "A convolution or pooling that fits on an n by n map: kernel 1-7, stride 1-3, dilation 1-3, padding 0-3."
    ks, s, d, p = draw(st.integers(1, 7)), draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(0, 3))
    if size_after(n, ks, s, p, d) < 1: ks, d = 1, 1
    kind = draw(st.sampled_from(['conv', 'conv', 'grouped', 'max', 'avg']))
    if kind == 'conv': return nn.Conv2d(2, 2, ks, s, p, d)
    if kind == 'grouped': return nn.Conv2d(2, 2, ks, s, p, d, groups=2)
    p = min(p, ks//2)
    if size_after(n, ks, s, p, d if kind == 'max' else 1) < 1: ks = s = d = 1; p = 0
    if kind == 'max': return nn.MaxPool2d(ks, s, p, d, ceil_mode=draw(st.booleans()))
    return nn.AvgPool2d(ks, s, p, ceil_mode=draw(st.booleans()))


@st.composite
def stack(draw):
    n = size = draw(st.integers(12, 40))
    layers = []
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(['window']*4 + ['residual', 'concat', 'norm', 'pad']))
        if kind == 'residual': layer = Residual(draw(st.sampled_from([1, 3, 5, 7])), draw(st.integers(1, 3)), 'zeros')
        elif kind == 'concat': layer = Concat(draw(window(n)), draw(window(n)))
        elif kind == 'norm': layer = nn.Sequential(nn.BatchNorm2d(2), nn.GELU(), nn.Dropout())
        elif kind == 'pad': layer = nn.ZeroPad2d([draw(st.integers(0, 3)) for _ in range(4)])
        else: layer = draw(window(n))
        with torch.no_grad(): shape = nn.Sequential(*layers, layer).eval()(torch.zeros(1, 2, size, size)).shape
        layers.append(layer)
        n = min(shape[2:])
    return nn.Sequential(*layers), size, shape[2:], draw(st.floats(0, .999)), draw(st.floats(0, .999))


@settings(max_examples=100, deadline=None)
@given(stack())
def test_walk_back_is_the_gradient_at_every_place(case):
    "Borders, holes and padding included, there is no difference at all."
    model, n, shape, a, b = case
    row, col = int(a*shape[0]), int(b*shape[1])
    box = image_box(trace_precedents(model, (2, n, n), None, row, col))
    assert gradient_probe(model, (2, n, n), None, row, col) == box
    theory = receptive_field(model, (2, n, n)).box(row, col)
    if box: assert all(t[0] <= x[0] and x[1] <= t[1] for t, x in zip(theory, box))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 7), st.integers(1, 3), st.integers(0, 3), st.integers(1, 3), st.booleans()), min_size=1, max_size=3))
def test_recurrence_is_the_gradient_far_from_the_border(specs):
    layers = []
    for ks, s, p, d, skip in specs:
        layers.append(nn.Conv2d(2, 2, ks, s, p, d))
        if skip: layers += [nn.ReLU(), Residual(3, d, 'zeros')]
    model, size, jump = nn.Sequential(*layers), 1, 1
    for ks, s, p, d, skip in specs:
        size, jump = size + (ks-1)*d*jump, jump*s
        if skip: size += 2*d*jump
    n = 2*size + 4*jump + 8*sum(p*j for (_, _, p, _, _), j in zip(specs, (1, 3, 9))) + 12*jump  # so that the field fits well inside
    rf = receptive_field(model, (2, n, n))
    assert rf.size == (size, size) and rf.jump == (jump, jump)
    row = len(rf.first[0])//2
    box = gradient_probe(model, (2, n, n), None, row, row)
    assert tuple(b-a for a, b in box) == (size, size) and box == rf.box(row, row)


@pytest.mark.parametrize('layer,size,place', [
    (nn.Conv1d(2, 4, 5, stride=2, dilation=2), (2, 40), (6,)), (nn.Conv3d(1, 2, (1, 3, 5), padding=1), (1, 6, 7, 8), (3, 3, 3)),
    (nn.ConvTranspose2d(2, 2, 3, stride=2, padding=1), (2, 8, 8), (7, 8)), (nn.ConvTranspose2d(2, 4, 4, stride=3), (2, 6, 6), (5, 7)),
    (nn.Conv2d(2, 2, 4, padding=(2, 1)), (2, 9, 9), (4, 4)), (nn.AdaptiveAvgPool2d((3, 5)), (2, 11, 11), (1, 2)),
    (nn.AdaptiveMaxPool2d((3, 5)), (2, 11, 11), (1, 2)), (nn.MaxPool2d(3, 2, 1, ceil_mode=True), (2, 10, 10), (2, 2)),
    (nn.MaxPool2d(3, 1, dilation=2), (2, 10, 10), (2, 2)), (nn.Upsample(scale_factor=2), (2, 5, 5), (4, 5)),
    (nn.Upsample(scale_factor=2, mode='bilinear'), (2, 6, 6), (5, 6)), (nn.PixelShuffle(2), (4, 5, 5), (4, 4)),
    (nn.PixelUnshuffle(2), (1, 8, 8), (2, 1)), (nn.LocalResponseNorm(2), (4, 5, 5), (2, 3)), (nn.ChannelShuffle(2), (4, 5, 5), (2, 3)),
    (nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(2, 2, 3, padding=1)), (2, 8, 8), (7, 8)), (nn.Softmax(1), (2, 4, 4), (1, 1)),
    (nn.Sequential(nn.ConvTranspose2d(2, 2, 2, stride=2), nn.Conv2d(2, 2, 3), nn.MaxPool2d(2)), (2, 8, 8), (3, 3)), (nn.Softmax2d(), (2, 4, 4), (1, 1)),
    (nn.ReflectionPad2d(2), (2, 8, 8), (5, 5)), (nn.CircularPad2d(2), (2, 8, 8), (5, 5)), (nn.InstanceNorm2d(2), (2, 5, 5), (1, 1)),
    (nn.GroupNorm(2, 2), (2, 5, 5), (1, 1)), (nn.LayerNorm(5), (2, 5, 5), (1, 1)), (nn.BatchNorm2d(2, track_running_stats=False), (2, 5, 5), (1, 1))])
def test_single_layers(layer, size, place):
    kw = dict(zip({1: ('col',), 2: ('row', 'col'), 3: ('depth', 'row', 'col')}[len(place)], place))
    box = gradient_probe(layer, size, None, **kw)
    assert receptive_field(layer, size).box(**kw) == box
    assert image_box(trace_precedents(layer, size, None, **kw)) == box


class SE(nn.Module):
    def __init__(self, nf=2):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(nf, nf, 3, padding=1), nn.Conv2d(nf, nf, 1)

    def forward(self, x):
        x = self.conv(x)
        return x*self.fc(F.adaptive_avg_pool2d(x, 1)).sigmoid()


class Attention(nn.Module):
    def __init__(self, nf=4):
        super().__init__()
        self.attn = nn.MultiheadAttention(nf, 2, batch_first=True)

    def forward(self, x):
        t = x.flatten(2).transpose(1, 2)
        return self.attn(t, t, t, need_weights=False)[0].transpose(1, 2).unflatten(2, x.shape[2:])


@pytest.mark.parametrize('model,size,place', [
    (SE(), (2, 9, 9), (0, 8)), (Attention(), (4, 5, 5), (0, 4)), (nn.AdaptiveAvgPool2d(1), (2, 9, 9), (0, 0)),
    (nn.Sequential(nn.Conv2d(2, 2, 3), nn.Flatten(), nn.Linear(98, 3)), (2, 9, 9), ()),
    (nn.Sequential(nn.Conv2d(2, 2, 3), nn.AdaptiveMaxPool2d(1), nn.Conv2d(2, 2, 1), nn.Flatten()), (2, 9, 9), ())])
def test_the_whole_image(model, size, place):
    kw = dict(zip(('row', 'col'), place))
    rf, whole = receptive_field(model, size), tuple((0, n) for n in size[1:])
    assert rf.whole == (True, True) and rf.size == size[1:] and rf.box(**kw) == whole
    assert gradient_probe(model, size, None, **kw) == image_box(trace_precedents(model, size, None, **kw)) == whole
    assert float('inf') in arithmetic(model, size)['receptive field'].tolist()


class Written(nn.Module):
    "Writes into a part of a tensor."
    def forward(self, x):
        y = torch.zeros_like(x)
        y[:, :, 1:] = x[:, :, :-1]
        y[:, :, :, 2:] += x[:, :, :, :-2]
        return y


@pytest.mark.parametrize('row,col', [(0, 0), (0, 5), (4, 1), (4, 4)])
def test_writing_into_a_part(row, col):
    box = gradient_probe(Written(), (1, 6, 6), None, row, col)
    assert image_box(trace_precedents(Written(), (1, 6, 6), None, row, col)) == box
    # the recurrence treats all positions of a row alike, so it may only say more
    theory = receptive_field(Written(), (1, 6, 6)).box(row, col)
    assert box is None or all(t[0] <= b[0] and b[1] <= t[1] for t, b in zip(theory, box))


def test_circular_padding_sees_the_other_side():
    model = nn.Conv2d(1, 1, 3, padding=1, padding_mode='circular')
    assert gradient_probe(model, (1, 9, 9), None, 0, 4) == image_box(trace_precedents(model, (1, 9, 9), None, 0, 4)) == ((0, 9), (3, 6))


def test_holes_and_padding():
    "Dilation and padding: the first tap lies in the padding, so the second is all there is."
    model = nn.Conv2d(1, 1, 2, padding=1, dilation=6)
    assert receptive_field(model, (1, 9, 9)).box(0, 0) == ((0, 6), (0, 6))  # as if the image went on
    assert image_box(trace_precedents(model, (1, 9, 9), None, 0, 0)) == gradient_probe(model, (1, 9, 9), None, 0, 0) == ((5, 6), (5, 6))


def test_a_position_in_the_padding_depends_on_nothing():
    model = nn.Conv2d(1, 1, 1, padding=3)
    assert receptive_field(model, (1, 5, 5)).box(0, 0) is None
    assert gradient_probe(model, (1, 5, 5), None, 0, 0) is None
    d = trace_precedents(model, (1, 5, 5), None, 0, 0)
    assert image_box(d) is None and len(d) == 1


def test_precedents_of_every_map():
    model = nn.Sequential(nn.Conv2d(1, 2, 3, stride=2), nn.ReLU(), nn.Conv2d(2, 2, 3, stride=2))
    d = trace_precedents(model, (1, 22, 22), '2', 1, 2)
    assert d.name.tolist() == ['image', '0', '1', '2'] and d['map'].tolist() == [(22, 22), (10, 10), (10, 10), (4, 4)]
    assert d['size'].tolist() == [(7, 7), (3, 3), (3, 3), (1, 1)]
    assert d.iloc[1][['top', 'bottom', 'left', 'right']].tolist() == [2, 5, 4, 7]


def test_effective_field():
    model, x = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 2, 3, padding=1)).train(), torch.randn(4, 2, 9, 9)
    erf = effective_receptive_field(model, x, '2', 4, 4)
    assert erf.shape == (9, 9) and erf.sum() == pytest.approx(1)
    box = torch.zeros(9, 9, dtype=torch.bool)
    box[2:7, 2:7] = True
    assert (erf[~box] == 0).all() and model.training and not x.requires_grad
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    with torch.no_grad(): assert torch.equal(effective_receptive_field(model, x, '2', 4, 4), erf)


def test_the_model_is_left_as_it_was():
    model = models.resnet18(weights=None).train()
    before, rng = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    gradient_probe(model, (3, 64, 64), 'layer1', 3, 3)
    trace_precedents(model, (3, 64, 64), 'layer1', 3, 3)
    effective_receptive_field(model, torch.rand(1, 3, 64, 64, generator=torch.Generator()), 'layer1', 3, 3)
    with pytest.raises(ValueError): gradient_probe(model, (3, 64, 64), 'layer1', 99, 3)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items()) and torch.equal(torch.get_rng_state(), rng)
    assert all(m.training and not m._forward_hooks for m in model.modules())
    assert all(p.grad is None for p in model.parameters())


NET = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 3))


@pytest.mark.parametrize('f', [trace_precedents, gradient_probe])
@pytest.mark.parametrize('args,error,text', [
    (((1, 8, 8), 'conv', 1, 1), KeyError, "layer 'conv' is not in the model"),
    (((1, 8, 8), '0', 6, 1), ValueError, 'row must be a whole number from 0 to 5; got 6'),
    (((1, 8, 8), '0', 1, -1), ValueError, 'col must be a whole number from 0 to 5; got -1'),
    (((1, 8, 8), '0', 1.5, 1), TypeError, 'row must be a whole number from 0 to 5; got 1.5'),
    (((1, 8, 8), '0', 1), ValueError, 'row and col must be given'),
    (((1, 8, 8), '2', 1, 1), ValueError, 'row and col must be left out'),
    ((8, '0', 1, 1), TypeError, 'input_size must be a tuple'),
    (((1, 9, 9), '0', 1, 1), ValueError, r'Sequential fails on input_size=\(1, 9, 9\)'),
])
def test_bad_input(f, args, error, text):
    with pytest.raises(error, match=text): f(NET, *args)


def test_names_of_layers():
    with pytest.raises(KeyError, match=r"did you mean one of \['layer4'"): receptive_field(models.resnet18(weights=None), (3, 64, 64), 'layer5')
    with pytest.raises(ValueError, match="layer 'aux1' is never called"): receptive_field(build('googlenet'), (3, 64, 64), 'aux1')
    with pytest.raises(TypeError, match='model must be an nn.Module'): receptive_field('resnet', (3, 8, 8))
    with pytest.raises(ValueError, match='x must be a tensor'): effective_receptive_field(NET, torch.zeros(8, 8), '0', 1, 1)


def test_a_layer_called_twice_means_its_last_call():
    conv = nn.Conv2d(1, 1, 3, padding=1)
    model = nn.Sequential(conv, nn.ReLU(), conv)
    assert receptive_field(model, (1, 9, 9), '0').size == (5, 5)
    assert gradient_probe(model, (1, 9, 9), '0', 4, 4) == ((2, 7), (2, 7))


def test_drawing():
    import matplotlib
    matplotlib.use('agg')
    import matplotlib.pyplot as plt
    axs = show_precedents(models.resnet18(weights=None), torch.rand(3, 64, 64), 'layer1.0.conv1', 3, 3, maps=['conv1'])
    assert [a.get_title() for a in axs] == ['image: 19×19', 'conv1: 7×7', 'layer1.0.conv1: 1×1']
    plt.close('all')


# What a field is worth: its status, and where the three ways differ

def agreed(model, size, status='exact', **at):
    "The box that the recurrence, the walk back and the gradient find, without a warning; the status is the one given."
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        field, d = receptive_field(model, size), trace_precedents(model, size, **at)
        assert (field.status, d.attrs['status']) == (status, status) and gradient_probe(model, size, **at) == image_box(d) == field.box(**at)
    return field.box(**at)


T = 8
LATER, FAR = torch.ones(T, T).triu(1).bool(), torch.ones(T, T).tril(1).triu(-1) == 0
BLOCKS = torch.kron(torch.eye(2), torch.ones(4, 4)) == 0
MASKS = {'causal': (LATER, (0, 4)), 'banded': (FAR, (2, 5)), 'blocks': (BLOCKS, (0, 4)), 'none': (LATER & False, (0, 8)), 'strided': (torch.arange(T)[:, None] % 2 != torch.arange(T) % 2, (1, 8))}


def scores(self, x):
    q, k, v = [f(x.mT) for f in (self.q, self.k, self.v)]
    return q @ k.mT/2, v


def by_hand(hide):
    def f(self, x, mask):
        s, v = scores(self, x)
        return (hide(s, mask) @ v).mT
    return f


def padded(self, x, mask):  # with a head of its own, as in most models
    q, k, v = [f(x.mT).unflatten(-1, (2, 2)).transpose(1, 2) for f in (self.q, self.k, self.v)]
    s = (q @ k.transpose(-2, -1)).masked_fill(mask[None, None], torch.finfo(x.dtype).min)
    return (F.dropout(s.softmax(-1), .1, self.training) @ v).transpose(1, 2).flatten(2).mT


def fused(**kw): return lambda self, x, mask: F.scaled_dot_product_attention(*[f(x.mT)[:, None] for f in (self.q, self.k, self.v)], **{k: v(mask) for k, v in kw.items()})[:, 0].mT


def layered(**kw): return lambda self, x, mask: self.mha(x.mT, x.mT, x.mT, attn_mask=mask, **kw)[0].mT


ATTENTION = {
    'minus infinity': by_hand(lambda s, m: s.masked_fill(m, -torch.inf).softmax(-1)), 'added': by_hand(lambda s, m: (s + torch.zeros(T, T).masked_fill(m, -torch.inf)).softmax(-1)),
    'a large number': by_hand(lambda s, m: (s - m*1e9).softmax(-1)), 'the least': by_hand(lambda s, m: (s + m*torch.finfo(torch.float32).min).softmax(-1)), 'where': by_hand(lambda s, m: torch.where(m, -1e10, s).softmax(-1)),
    'in place': by_hand(lambda s, m: s.masked_fill_(m, -torch.inf).softmax(-1)), 'times': by_hand(lambda s, m: s*~m), 'times, then the mean': by_hand(lambda s, m: (s*~m)/(~m).sum(-1, keepdim=True)),
    'weights alone': lambda self, x, mask: ((~mask).float()/(~mask).sum(-1, keepdim=True) @ self.v(x.mT)).mT, 'from the right': lambda self, x, mask: x @ (~mask).float().T,
    'heads': padded, 'fused, bools': fused(attn_mask=lambda m: ~m), 'fused, numbers': fused(attn_mask=lambda m: torch.zeros(T, T).masked_fill(m, -torch.inf)), 'layer': layered(need_weights=False), 'layer with weights': layered(),
    'encoder': lambda self, x, mask: self.encoder(x.mT, src_mask=mask).mT}


LOOSE = {'minus infinity', 'added', 'a large number', 'the least', 'where', 'in place', 'times', 'times, then the mean', 'heads', 'layer with weights'}


def attention(way):
    linears = {k: nn.Linear(4, 4) for k in 'qkv'}
    net = L(ATTENTION[way], **linears, mha=nn.MultiheadAttention(4, 2, batch_first=True), encoder=nn.TransformerEncoderLayer(4, 2, 8, batch_first=True))
    return L(lambda self, x: net(x, self.mask), net=net)


@pytest.mark.parametrize('mask', MASKS)
@pytest.mark.parametrize('way', ATTENTION)
def test_attention_behind_a_mask(way, mask):
    if mask == 'none' and way in ('weights alone', 'from the right'): pytest.skip('a matrix without zeros leaves no map')
    net = attention(way)
    net.mask, box = MASKS[mask]
    if way in LOOSE and mask != 'none':  # how a mask made by hand ends is not followed, which is said
        field, d = receptive_field(net, (4, T)), trace_precedents(net, (4, T), col=3)
        assert field.box(col=3) == image_box(d) == ((0, T),) and field.status == d.attrs['status'] == 'upper bound'
        if box != (0, T):
            with pytest.warns(UserWarning, match='the second is an upper bound'): assert gradient_probe(net, (4, T), col=3) == (box,)
        return
    assert agreed(net, (4, T), col=3) == (box,)
    reached = [projective_field(net, (4, T), col=c).nonzero()[:, 0].tolist() for c in range(T)]
    seen = [[c for c in range(T) if r in reached[c]] for r in range(T)]
    assert (seen[3][0], seen[3][-1]+1) == box and seen == [[c for c in range(T) if not net.mask[r, c]] for r in range(T)] or way == 'encoder'


def written(at, value):
    def f(s, m):
        s = s.clone()
        s[..., m if at is None else at] = value
        return s
    return f


BY_HAND = {  # each hides something by a constant of its own
    'set': lambda s, m: written(None, -torch.inf)(s, m).softmax(-1), 'a slice set': lambda s, m: written(slice(4, None), 0)(s.softmax(-1), m), 'a slice copied': lambda s, m: written(slice(4, None), torch.zeros(T, 4))(s.softmax(-1), m),
    'normalized': lambda s, m: (s.exp()*~m)/(s.exp()*~m).sum(-1, keepdim=True), 'tril': lambda s, m: s.tril(), 'where': lambda s, m: torch.where(~m, s, float('-inf')).softmax(-1), 'logarithms': lambda s, m: s.masked_fill(m, -torch.inf).log_softmax(-1).exp(),
    'filled': lambda s, m: s.softmax(-1).index_fill(2, torch.arange(4, 8), 0.), 'joined': lambda s, m: torch.cat([s.softmax(-1)[..., :4], torch.zeros(1, T, 4)], -1), 'padded': lambda s, m: F.pad(s.softmax(-1)[..., :4], (0, 4)),
    'ramp': lambda s, m: s.softmax(-1)*torch.linspace(1, 0, T), 'relu': lambda s, m: (s - 1e6*m).relu(), 'minimum': lambda s, m: torch.minimum(s, torch.zeros(T, T).masked_fill(m, -torch.inf)).softmax(-1), 'half': lambda s, m: (s.half() + torch.zeros(T, T).masked_fill(m, -6e4).half()).softmax(-1).float()}
PRODUCTS = {'matmul': lambda w, v: w @ v, 'einsum': lambda w, v: torch.einsum('bij,bjd->bid', w, v), 'by hand': lambda w, v: (w[..., None]*v[:, None]).sum(2)}


@pytest.mark.parametrize('product', PRODUCTS)
@pytest.mark.parametrize('way', BY_HAND)
def test_what_a_constant_may_hide_is_never_called_exact(way, product):
    net = L(lambda self, x: PRODUCTS[product](*(lambda s, v: (BY_HAND[way](s, LATER), v))(*scores(self, x))).mT, **{k: nn.Linear(4, 4) for k in 'qkv'})
    field = receptive_field(net, (4, T))
    assert field.size == (T,) and field.status == 'upper bound'
    plain = L(lambda self, x: PRODUCTS[product](*(lambda s, v: (s.softmax(-1), v))(*scores(self, x))).mT, **{k: nn.Linear(4, 4) for k in 'qkv'})
    assert receptive_field(plain, (4, T)).status == 'exact'


def test_causal_attention_by_its_flag():
    for f in (fused(is_causal=lambda m: True), layered(is_causal=True, need_weights=False)):
        net = L(f, **{k: nn.Linear(4, 4) for k in 'qkv'}, mha=nn.MultiheadAttention(4, 2, batch_first=True))
        assert agreed(L(lambda self, x: net(x, LATER), net=net), (4, T), col=3) == ((0, 4),)


FULL = {'rows': lambda s, x: s.m @ x, 'columns': lambda s, x: x @ s.m, 'summed': lambda s, x: torch.einsum('ij,ncjk->ncik', s.m, x),
        'in a batch': lambda s, x: torch.bmm(s.m.expand(2, 8, 8), x[0])[None]}


@pytest.mark.parametrize('name', FULL)
def test_a_full_constant_matrix_leaves_a_map(name):
    net = L(FULL[name])
    net.register_buffer('m', torch.rand(8, 8) + .1)
    field = receptive_field(net, (2, 8, 8))
    sees = (False, True) if name == 'columns' else (True, False)
    assert (field.whole, field.jump, field.status) == (sees, (1, 1), 'exact')
    assert trace_precedents(net, (2, 8, 8), row=3, col=4)['size'].iloc[0] == tuple(8 if all_of_it else 1 for all_of_it in sees)
    net.m = torch.rand(6, 8) + .1  # other positions than before, if any
    assert receptive_field(L(lambda s, x: net.m @ x), (2, 8, 8)).jump[0] is None


def test_what_is_no_mask_hides_nothing():
    net = attention('minus infinity')
    net.mask = torch.zeros(T, T, dtype=torch.bool)
    net.net.q.weight.data.zero_()  # a parameter will not stay so
    assert receptive_field(net, (4, T)).box(col=3) == ((0, 8),)
    learned = L(lambda self, x: self.w @ x.mT, w=nn.Parameter(torch.eye(T)))
    assert receptive_field(learned, (4, T)).size == (8,)
    soft = attention('added')
    soft.net.f = by_hand(lambda s, m: (s + torch.zeros(T, T).masked_fill(m, -1e4)).softmax(-1))
    soft.mask = LATER
    assert receptive_field(soft, (4, T)).status == 'upper bound'
    assert receptive_field(soft.to('meta'), (4, T)).status == 'upper bound'


@pytest.mark.parametrize('cls', [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize('kw,box', [(dict(), (0, 4)), (dict(num_layers=3), (0, 4)), (dict(bidirectional=True), (0, 8))], ids=str)
@pytest.mark.parametrize('first', [False, True])
def test_recurrent_layers_see_what_came_before(cls, kw, box, first):
    net = L(lambda self, x: self.rnn(x.mT if first else x.movedim(2, 0))[0].movedim(1 if first else 0, 2), rnn=cls(3, 4, batch_first=first, **kw))
    assert agreed(net, (3, T), col=3) == (box,)


@pytest.mark.parametrize('cls', [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize('layers', [2, 3])
def test_recurrent_layers_both_ways_see_all(cls, layers):
    "Whether the result is a map is told of an LSTM alone: it arrives whole, and the others step by step."
    field = receptive_field(L(lambda self, x: self.rnn(x.mT)[0].mT, rnn=cls(3, 4, layers, bidirectional=True, batch_first=True)), (3, T))
    assert field.size == (T,) and field.box(*([None, 3] if cls is nn.LSTM else [])) == ((0, T),) and field.status == 'exact'


@pytest.mark.parametrize('f', [lambda x: x.flip(1), lambda x: x])
def test_a_recurrent_layer_turned_round(f):
    net = L(lambda self, x: f(self.rnn(f(x.mT))[0]).mT, rnn=nn.LSTM(3, 4, batch_first=True))
    assert agreed(net, (3, T), col=3) == (((3, 8) if f(torch.arange(2)[None]).tolist() == [[1, 0]] else (0, 4)),)


SEEN_BY_THE_GRADIENT = {
    'where': lambda s, x: torch.where(s.a(x) > 0, s.a(x), 0.), 'erf': lambda s, x: torch.erf(1e4*s.a(x)), 'median': lambda s, x: s.a(x).unfold(2, 1, 1).median(-1)[0], 'round': lambda s, x: s.a(x).round(), 'sign': lambda s, x: s.a(x).sign(),
    'batch norm of the course': lambda s, x: s.bn(s.a(x)), 'conv2d of the course': lambda s, x: conv2d(x, s.a.weight, s.a.bias, padding=1), 'sort': lambda s, x: s.a(x).sort(1)[0], 'topk': lambda s, x: s.a(x).topk(1, 1)[0],
    'kthvalue': lambda s, x: s.a(x).kthvalue(2, 1, keepdim=True)[0], 'maximum': lambda s, x: torch.maximum(s.a(x), -s.a(x)), 'max': lambda s, x: s.a(x).max(1, keepdim=True)[0], 'aminmax': lambda s, x: s.a(x).amin(1, keepdim=True),
    'mode': lambda s, x: s.a(x).mode(1, keepdim=True)[0], 'vmap': lambda s, x: torch.vmap(lambda r: s.a(r[None])[0])(x), 'clamp': lambda s, x: s.a(x).clamp(max=-9), 'data': lambda s, x: F.conv2d(x, s.a.weight.data, padding=1),
    'into its input': lambda s, x: s.a(x.mul_(2)), 'single precision': lambda s, x: s.a(x).float().relu(), 'weight norm': lambda s, x: s.wn(x), 'padding of its own': lambda s, x: F.conv2d(F.unfold(x, 3, padding=1).unflatten(2, (8, 8)), torch.ones(1, 18, 1, 1, dtype=x.dtype)),
    'adaptive maximum with indices': lambda s, x: F.adaptive_max_pool2d(s.a(x), 8, return_indices=True)[0], 'maximum with indices': lambda s, x: F.max_pool2d(s.a(x), 1, return_indices=True)[0]}
HIDDEN = {'product with a comparison': (lambda s, x: (y := s.a(x))*(y < 0), 'lt'), 'detach': (lambda s, x: s.a(x).detach(), 'detach'), 'argmax': (lambda s, x: s.a(x).argmax(1, keepdim=True).float(), 'argmax'),
          'comparison alone': (lambda s, x: (s.a(x) > 0).float(), 'gt'), 'integers': (lambda s, x: s.a(x).int().float(), 'int')}


def parts(): return dict(a=nn.Conv2d(2, 2, 3, padding=1), bn=BatchNorm2d(2), wn=nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 2, 3, padding=1)))


@pytest.mark.parametrize('name', SEEN_BY_THE_GRADIENT)
@pytest.mark.parametrize('inference', [False, True])
def test_stand_ins_show_what_can_matter(name, inference):
    net = L(SEEN_BY_THE_GRADIENT[name], **parts())
    with torch.inference_mode(inference): assert agreed(net, (2, 8, 8), row=3, col=4) == ((2, 5), (3, 6))


CHECKPOINTED = {
    'before the layer': (lambda s, x, run: s.a(run(lambda y: s.r(s.b(y)), x)), None, ((1, 6), (2, 7))),
    'up to the layer': (lambda s, x, run: s.a(run(lambda y: s.r(s.b(y)), x)), 'b', ((2, 5), (3, 6))),
    'twice': (lambda s, x, run: run(s.a, run(lambda y: s.r(s.b(y)), x)), None, ((1, 6), (2, 7))),
    'with branches': (lambda s, x, run: run(lambda y: s.a(y) + s.b(y), x), None, ((2, 5), (3, 6))),
    'with a maximum': (lambda s, x, run: run(lambda y: F.max_pool2d(s.a(y), 3, 1, 1), x), None, ((1, 6), (2, 7)))}


@pytest.mark.parametrize('reentrant', [False, True])
@pytest.mark.parametrize('name', CHECKPOINTED)
@pytest.mark.filterwarnings('ignore:None of the inputs have requires_grad')
def test_the_probe_through_a_checkpoint(name, reentrant):
    f, layer, box = CHECKPOINTED[name]
    def run(part, x): return checkpoint(part, x, use_reentrant=reentrant)
    net = L(lambda s, x: f(s, x, run), a=nn.Conv2d(2, 2, 3, padding=1), b=nn.Conv2d(2, 2, 3, padding=1), r=nn.ReLU())
    for p in net.parameters(): p.data.abs_()
    before = [p.clone() for p in net.parameters()]
    if reentrant and layer:  # inside it has no gradient, which is said
        with pytest.warns(UserWarning, match='the gradient finds None'): assert gradient_probe(net, (2, 8, 8), layer, 3, 4) is None
        return
    assert gradient_probe(net, (2, 8, 8), layer, 3, 4) == image_box(trace_precedents(net, (2, 8, 8), layer, 3, 4)) == box
    share = effective_receptive_field(net, torch.rand(2, 8, 8), layer, 3, 4)
    assert bounding_box(share > 0, (0, 1)) == box or name == 'with a maximum'
    assert all(p.grad is None and torch.equal(p, was) for p, was in zip(net.parameters(), before))


@pytest.mark.parametrize('name', HIDDEN)
def test_the_probe_says_what_hid_from_it(name):
    f, why = HIDDEN[name]
    net = L(f, **parts())
    with pytest.warns(UserWarning, match=rf'the gradient finds None, trace_precedents \(\(2, 5\), \(3, 6\)\); .*{why}') as said: assert gradient_probe(net, (2, 8, 8), row=3, col=4) is None
    assert said[0].filename == __file__


CHOSEN = {'gather': lambda s, x: x.gather(3, (s.a(x)*8).long().clamp(0, 7)), 'index': lambda s, x: x[:, :, (x.mean((0, 1, 2))*8).long().clamp(0, 7)], 'grid': lambda s, x: F.grid_sample(x, s.a(x).movedim(1, 3), align_corners=True),
          'control flow': lambda s, x: s.a(x) if x.sum() > 0 else x, 'unpooled': lambda s, x: F.max_unpool2d(*F.max_pool2d(s.a(x), 2, return_indices=True), 2), 'item': lambda s, x: s.a(x)*x.mean().item(),
          'how many values': lambda s, x: (n := len(x.unique()), s.a(x)*n)[1], 'how many are not zero': lambda s, x: (n := len(x.nonzero()), s.a(x)*n)[1],
          'how many are chosen': lambda s, x: (n := x[x > .5].numel(), s.a(x)*n)[1], 'how many in a row': lambda s, x: (n := len(x.unique_consecutive()), s.a(x)*n)[1],
          'how many by a mask': lambda s, x: (n := len(x.masked_select(x > .5)), s.a(x)*n)[1], 'how many bins': lambda s, x: (n := len(torch.bincount((9*x).long().flatten())), s.a(x)*n)[1],
          'numpy': lambda s, x: s.a(x)*float(x.detach().numpy().mean()), 'tolist': lambda s, x: s.a(x)*x[0, 0, 0].tolist()[0],
          'how many repeated': lambda s, x: (n := len(torch.arange(8).repeat_interleave((9*x[0, 0, 0]).long())), s.a(x)*n)[1]}
FIXED = {'how many of a constant': lambda s, x: s.a(x)*len(torch.arange(4).unique()), 'how many under a constant mask': lambda s, x: s.a(x)*len(x[torch.eye(8).expand(x.shape) > 0]),
         'how many of a shape': lambda s, x: s.a(x)*len(x)*x.numel()}
WIDER = {'a masked kernel': lambda s, x: F.conv2d(x, s.a.weight*torch.tensor([1., 1., 0.]), padding=1), 'a diagonal': lambda s, x: s.a(x)*(torch.eye(8) == 0), 'a mask of both': lambda s, x: s.a(x).masked_fill(torch.eye(8, dtype=torch.bool), 0), 'nobody knows': lambda s, x: torch.linalg.matrix_exp(s.a(x)),
         'a kernel that shifts': lambda s, x: F.conv2d(x, F.pad(torch.ones(2, 2, 1, 1), (2, 0, 1, 1)), padding=1), 'a buffer with zeros': lambda s, x: F.conv2d(x, s.b, padding=1),
         'a real part': lambda s, x: torch.complex(s.a(x), s.a(x).roll(1, 3)).real, 'an imaginary part': lambda s, x: torch.complex(s.a(x), s.a(x).roll(1, 3)).imag,
         'a part of two': lambda s, x: torch.view_as_real(torch.complex(s.a(x), s.a(x).roll(1, 3)))[..., 0]}


@pytest.mark.parametrize('name', [*CHOSEN, *WIDER])
@pytest.mark.filterwarnings('ignore')
def test_fields_that_are_not_exact_say_so(name):
    net = L((CHOSEN | WIDER)[name], **parts())
    net.register_buffer('b', torch.tensor([0., 1, 2]).expand(2, 2, 3, 3).clone())
    want = 'depends on the data' if name in CHOSEN else 'upper bound'
    assert receptive_field(net, (2, 8, 8)).status == want
    assert arithmetic(net, (2, 8, 8)).status.iloc[-1] in (want, 'exact')


@pytest.mark.parametrize('name', FIXED)
def test_sizes_that_no_image_decides_are_exact(name): assert receptive_field(L(FIXED[name], **parts()), (2, 8, 8)).status == 'exact'


def kernel(*shape): return torch.rand(shape, generator=torch.Generator().manual_seed(0)) + .1


# weights and statistics that are themselves made of the image
FROM_IMAGE = {
    'a weight': lambda x: F.conv2d(x, kernel(2, 2, 3, 3)*x[0, 0, 7, 6]),
    'a bias': lambda x: F.conv2d(x, kernel(2, 2, 3, 3), x[0, 0, 7, 5:7]),
    'groups': lambda x: F.conv2d(x, kernel(4, 1, 3, 3)*x[0, 1, 0, 0], groups=2),
    'three dimensions': lambda x: F.conv3d(x[:, None], kernel(1, 1, 2, 3, 3)*x[0, 0, 7, 7])[:, 0],
    'correlation with a part': lambda x: F.conv2d(x, x[:, :, 5:7, 1:3]),
    'transposed': lambda x: F.conv_transpose2d(x, kernel(2, 2, 3, 3)*x[0, 0, 7, 6], padding=1),
    'batch norm': lambda x: F.batch_norm(x, torch.zeros(2), torch.ones(2), x[0, 0, 6, 6:8], x[0, 1, 7, 1:3]),
    'layer norm': lambda x: F.layer_norm(x, (8,), x[0, 0, 6], x[0, 0, 5]),
    'group norm': lambda x: F.group_norm(x[:, :, :, :5], 2, x[0, 0, 6, 6:8]),
    'weight norm': lambda x: torch._weight_norm(kernel(1, 8, 8), x[0, :1, :1, 7:], 0)*x}


@pytest.mark.parametrize('name', FROM_IMAGE)
def test_weights_that_are_made_of_the_image(name):
    f = FROM_IMAGE[name]
    x = kernel(1, 2, 8, 8).requires_grad_()
    grad, = torch.autograd.grad((f(x)[0, :, 3, 4]**2).sum(), x)
    found = trace_precedents(L(lambda s, x: f(x)), (2, 8, 8), row=3, col=4)
    assert image_box(found) == bounding_box(grad != 0, (2, 3)) and found.attrs['status'] == 'upper bound'


def test_statuses_go_on_and_do_not_spread():
    net = L(lambda s, x: (s.a(x), torch.linalg.matrix_exp(x)), **parts())
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        assert [r.status for r in trace_model(net, (2, 8, 8)).rows] == ['exact', 'upper bound'] and receptive_field(net, (2, 8, 8)).status == 'exact'


def test_a_module_called_image():
    net = nn.Sequential()
    net.add_module('image', nn.Conv2d(1, 1, 3))
    assert image_box(trace_precedents(net, (1, 6, 6), row=1, col=1)) == gradient_probe(net, (1, 6, 6), row=1, col=1) == ((1, 4), (1, 4))
    assert image_box(trace_precedents(net, (1, 6, 6), 'image', row=1, col=1)) == ((1, 4), (1, 4))


def test_jumps_of_uneven_resampling():
    for n in (17, 5, 24):
        for mode in ('nearest', 'bilinear', 'nearest-exact', 'area'):
            assert receptive_field(nn.Upsample(size=(n, n), mode=mode), (1, 12, 12)).jump == (pytest.approx(12/n),)*2


def test_layers_of_compiled_models():
    net = torch.compile(nn.Sequential(nn.Sequential(nn.Conv2d(1, 1, 3), nn.Softplus())))
    for name in ('0', '_orig_mod.0', '_orig_mod.0.0'):
        assert receptive_field(net, (1, 6, 6), name).size == (3, 3) and gradient_probe(net, (1, 6, 6), name, 1, 1) == ((1, 4), (1, 4))
        assert (effective_receptive_field(net, torch.rand(1, 1, 6, 6), name, 1, 1) > 0).sum() == 9


# The other way round, and from layer to layer

@settings(max_examples=30, deadline=None)
@given(stack())
def test_projective_field_is_the_other_side_of_the_walk_back(case):
    model, n, shape, a, b = case
    row, col = int(a*n), int(b*n)
    reached = projective_field(model, (2, n, n), row, col)
    assert reached.shape == torch.Size(shape) and reached.dtype == torch.bool
    x = torch.rand(1, 2, n, n, dtype=torch.float64, requires_grad=True)
    with torch.no_grad():
        for p in model.parameters(): p.data = torch.rand_like(p, dtype=torch.float64) + .1
        model.double().eval()
        changed = x.clone()
        changed[:, :, row, col] += 1
        moved = (model(changed) - model(x)).abs().amax((0, 1)) > 0
    assert not (moved & ~reached).any()  # a maximum may hide some
    if not any(isinstance(m, nn.MaxPool2d) for m in model.modules()): assert torch.equal(moved, reached)


def test_projective_fields_of_known_shapes():
    assert projective_field(nn.Conv2d(1, 1, 3, padding=1), (1, 5, 5), 0, 2).nonzero().tolist() == [[r, c] for r in (0, 1) for c in (1, 2, 3)]
    assert not projective_field(nn.Conv2d(1, 1, 1, stride=2), (1, 5, 5), 1, 2).any()  # between the windows
    assert projective_field(nn.Sequential(nn.Flatten(), nn.Linear(25, 3)), (1, 5, 5), 0, 2).tolist() == [True]*3
    assert projective_field(nn.Conv1d(1, 1, 3, dilation=2), (1, 9), col=4).nonzero()[:, 0].tolist() == [0, 2, 4]
    assert projective_field(models.resnet18(weights=None), (3, 64, 64), 9, 9, layer='conv1').sum() == 16  # a stride of 2, windows of 7
    with pytest.raises(ValueError, match='row must be'): projective_field(nn.Conv2d(1, 1, 3), (1, 5, 5), 5, 0)
    with pytest.raises(ValueError, match='row and col must be given'): projective_field(nn.Conv2d(1, 1, 3), (1, 5, 5))


@pytest.mark.parametrize('layer,of,size,jump', [('layer2', 'layer1', 15, 2), ('layer3', 'layer2', 15, 2), ('layer1.0', 'maxpool', 5, 1), ('layer1', 'maxpool', 9, 1), ('layer1', 'conv1', 19, 2), ('layer1', 'layer1', 1, 1), (None, 'layer4', 2, None)])
def test_fields_from_layer_to_layer(layer, of, size, jump):
    net = models.resnet18(weights=None)
    field = receptive_field(net, (3, 64, 64), layer, of=of)
    assert field.size == (size, size) and field.jump == (jump, jump) and field.status == 'exact'
    if layer == 'layer2':  # as the later layers alone have it
        later = nn.Sequential(net.layer2)
        assert receptive_field(later, (64, 16, 16)).box(4, 5) == field.box(4, 5)


def test_fields_between_layers_that_do_not_belong_together():
    net = models.resnet18(weights=None)
    with pytest.raises(ValueError, match="layer 'layer1' does not depend on what layer 'layer2' returns last"): receptive_field(net, (3, 64, 64), 'layer1', of='layer2')
    with pytest.raises(ValueError, match='of must name a layer that returns a map'): receptive_field(net, (3, 64, 64), of='fc')
    with pytest.raises(KeyError, match="'layer9' is not in the model"): receptive_field(net, (3, 64, 64), of='layer9')


# What the lesson builds by hand

@pytest.mark.parametrize('kernels,stride', [((5, 3, 3, 3, 3), 2), ((3,)*6, 1), ((7, 1, 4), 3)])
def test_the_pencils_version_is_the_tracers(kernels, stride):
    net = nn.Sequential(*[nn.Conv2d(1, 1, ks, stride, ks//2) for ks in kernels])
    assert field_sizes(kernels, stride) == [receptive_field(net, (1, 90, 90), str(n)).size[0] for n in range(len(kernels))]


@pytest.mark.parametrize('ks,stride,padding,row', [(3, 2, 0, 1), (5, 2, 2, 4), (4, 3, 1, 5), (3, 1, 1, 0)])
def test_one_step_back(ks, stride, padding, row):
    rows = [r for r in came_from([row], ks, stride, padding) if 0 <= r < 30]
    d = trace_precedents(nn.Conv2d(1, 1, ks, stride, padding), (1, 30, 30), row=row, col=row)
    assert image_box(d)[0] == (rows[0], rows[-1]+1) and rows == list(range(rows[0], rows[-1]+1))


def test_the_sheet_has_the_formulas_that_the_lesson_tells():
    openpyxl = pytest.importorskip('openpyxl')
    sheet, lesson = openpyxl.load_workbook(root/'nbs'/'conv-example.xlsx')['conv'], (root/'nbs'/'05_receptive_fields.ipynb').read_text(encoding='utf-8')
    assert sheet['AL5'].value == '=MAX(0,SUMPRODUCT(AC6:AE8,$AJ$16:$AL$18))' and f"`{sheet['AL5'].value}`" in lesson
    assert sheet['AM5'].value == '=MAX(0,SUMPRODUCT(AE6:AG8,$AJ$16:$AL$18))'  # two columns further, the same filter


def test_rows_stacked_are_not_taken_for_channels():
    "Where all rows that are stacked see the same, and channels do not, no dimension can be said to be that of rows."
    class Stacks(nn.Module):
        def forward(self, x):
            both = torch.cat([x[:, :, :2, :3], F.max_pool2d(x, 2, 3, 1)], 1)
            return torch.stack([both[:, :, 0], both[:, :, 0]+both[:, :, 0]], 2)
    with pytest.raises(ValueError, match='is not a map'): receptive_field(Stacks(), (3, 4, 8)).box(row=0, col=0)
    assert image_box(trace_precedents(Stacks(), (3, 4, 8))) == ((0, 1), (0, 7))  # without a place: all that any of them sees
