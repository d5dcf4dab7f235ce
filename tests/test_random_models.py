"""Random models out of a grammar: three ways to the receptive field agree, with a fourth that knows neither rules nor gradients
where there is one, products are PyTorch's, the model is left as it was.
`python tests/test_random_models.py 2000 SEED` tries more of them than the tests do."""
import copy
import math
import random
import sys
import time
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, Phase, given, seed, settings, strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from convlab.arithmetic import arithmetic, totals
from convlab.trace.fields import check_place, walk_back
from convlab.trace.reach import map_dims
from convlab.receptive import gradient_probe, image_box, receptive_field, trace_precedents
from convlab.trace.tracing import trace_model

ACTS = (nn.ReLU(), nn.GELU(), nn.Hardswish(), nn.LeakyReLU(inplace=True), nn.SiLU(inplace=True), nn.Sigmoid(), nn.PReLU(), nn.Softplus(), nn.ELU())


class Do(nn.Module):
    "A function as a module; `text` says which."
    def __init__(self, text, f, *parts, regular=False):
        super().__init__()
        self.text, self.f, self.parts, self.regular = text, f, nn.ModuleList(parts), regular

    def forward(self, x): return self.f(x, *self.parts)
    def extra_repr(self): return self.text


# Words: each takes hypothesis's `draw` and the shape of what comes in, and gives a module from maps to maps, or None if it has none for this shape

def conv(draw, c, h, w):
    ks = draw(st.sampled_from([(1, 1), (3, 3), (2, 2), (3, 1), (2, 3)]))
    groups = draw(st.sampled_from([1, 1, c]))
    out, dil, pad = draw(st.integers(1, 3))*groups, draw(st.sampled_from([1, 1, 2])), draw(st.sampled_from([0, 1, 'same', 2]))
    stride = 1 if pad == 'same' else draw(st.sampled_from([1, 1, 2, (1, 2), 3]))
    mode = draw(st.sampled_from(['zeros']*4 + ['reflect', 'circular', 'replicate']))
    return nn.Conv2d(c, out, ks, stride, pad, dil, groups, bias=draw(st.booleans()), padding_mode=mode)


def up_conv(draw, c, h, w):
    s = draw(st.integers(1, 3))
    return nn.ConvTranspose2d(c, draw(st.integers(1, 3)), draw(st.integers(1, 3)), s, draw(st.integers(0, 1)), draw(st.integers(0, s-1)))


def pool(draw, c, h, w):
    ks, ceil = draw(st.integers(1, 3)), draw(st.booleans())
    args = ks, draw(st.integers(1, 3)), draw(st.integers(0, ks//2))
    return draw(st.sampled_from([nn.MaxPool2d, nn.AvgPool2d]))(*args, ceil_mode=ceil)


def point(draw, c, h, w): return draw(st.sampled_from([*ACTS, nn.BatchNorm2d(c), nn.Dropout(.5), nn.Identity()]))


def norm(draw, c, h, w): return draw(st.sampled_from([nn.GroupNorm(1, c), nn.InstanceNorm2d(c), nn.GroupNorm(c, c), nn.LocalResponseNorm(2)]))


def adaptive(draw, c, h, w):
    size = draw(st.integers(1, min(h, 5))), draw(st.integers(1, min(w, 5)))
    return draw(st.sampled_from([nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d]))(size)


def upsample(draw, c, h, w):
    mode = draw(st.sampled_from(['nearest', 'bilinear', 'nearest-exact', 'area']))
    return nn.Upsample(size=(h+draw(st.integers(0, 4)), w+draw(st.integers(1, 4))), mode=mode) if draw(st.booleans()) else nn.Upsample(scale_factor=2, mode=mode)


def pad(draw, c, h, w):
    sides = draw(st.tuples(*[st.integers(-1, 2)]*4))
    mode = draw(st.sampled_from(['constant', 'replicate', 'circular', 'reflect']))
    if mode != 'constant': sides = tuple(max(0, s) for s in sides)
    return Do(f'F.pad {sides} {mode}', lambda x: F.pad(x, sides, mode))


def index(draw, c, h, w):
    at = draw(st.lists(st.integers(-c, c-1), min_size=1, max_size=4))
    a, step = draw(st.integers(0, 2)), draw(st.integers(1, 2))
    return draw(st.sampled_from([
        Do(f'x[:,{at}]', lambda x: x[:, at]), Do(f'x[:,np.array({at})]', lambda x: x[:, np.array(at)]), Do(f'x[:,:,{a}::{step}]', lambda x: x[:, :, a::step]),
        Do(f'x[...,:-{a+1}]', lambda x: x[..., :-a-1]), Do('flip', lambda x: x.flip(2)), Do(f'roll {a}', lambda x: x.roll(a, 3)), Do('mT', lambda x: x.mT),
        Do('rot90', lambda x: x.rot90(1, (2, 3))), Do('gather', lambda x: x.gather(3, torch.arange(x.shape[3]).flip(0).expand_as(x))),
        Do(f'index_select {at}', lambda x: x.index_select(1, torch.tensor(at) % c)), Do('mask', lambda x: x[:, :, torch.arange(x.shape[2]) % 3 != 1]),
        Do('masked_fill', lambda x: x.masked_fill(torch.eye(x.shape[2], x.shape[3], dtype=torch.bool), 0))]))


def reshape(draw, c, h, w):
    words = [Do('flatten, unflatten', lambda x: x.flatten(2).unflatten(2, x.shape[2:]), regular=True), Do('tokens', lambda x: x.flatten(2).mT.mT.reshape(x.shape), regular=True),
             Do('rows as batch', lambda x: x.movedim(2, 1).flatten(0, 1).reshape(1, x.shape[2], *x.shape[1::2]).movedim(1, 2), regular=True)]
    if c % 4 == 0: words += [nn.PixelShuffle(2)]
    if c % 2 == 0: words += [nn.ChannelShuffle(2), Do('split and cat', lambda x: torch.cat(x.chunk(2, 1)[::-1], 1), regular=True)]
    if h % 2 == w % 2 == 0: words += [nn.PixelUnshuffle(2), Do('windows', lambda x: x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).transpose(3, 4).mean((4, 5)), regular=True)]
    if h > 2 and w > 2: words += [Do('unfold', lambda x: F.unfold(x, 2).unflatten(2, (x.shape[2]-1, -1)), regular=True), Do('x.unfold', lambda x: x.unfold(2, 3, 2).mean(-1), regular=True)]
    return draw(st.sampled_from(words))


def mix(draw, c, h, w):
    return draw(st.sampled_from([
        Do('squeeze and excite', lambda x, fc: (x+1)*fc(x.mean((2, 3), keepdim=True)).sigmoid(), nn.Conv2d(c, c, 1)),  # a zero times x hides x
        Do('attention', lambda x: F.scaled_dot_product_attention(*[x.flatten(2).mT]*3).mT.reshape(x.shape)),
        Do('einsum', lambda x: torch.einsum('nchw,cd->ndhw', x, torch.ones(c, 2)), regular=True), Do('linear', lambda x, fc: fc(x.movedim(1, 3)).movedim(3, 1), nn.Linear(c, 3), regular=True),
        Do('rows @ ', lambda x: torch.ones(x.shape[2], x.shape[2]) @ x), Do('softmax', lambda x: x.softmax(3)), Do('cumsum', lambda x: x.cumsum(1), regular=True),
        Do('channels', lambda x: torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], 1), regular=True)]))


def write(draw, c, h, w):
    n = draw(st.integers(1, 2))
    def shift(x):
        y = torch.zeros_like(x)
        y[:, :, n:] = x[:, :, :-n]
        return y
    def add_to_row(x):
        y = x.clone()
        y[:, :, 0] += x[:, :, -1]
        return y
    def loop(x):
        rows = [x[:, :, 0]]
        for i in range(1, x.shape[2]): rows.append(x[:, :, i] + rows[-1])
        return torch.stack(rows, 2)
    return draw(st.sampled_from([Do(f'shift {n}', shift), Do('add to a row', add_to_row), Do('row after row', loop)]))


def branches(draw, c, h, w):
    "Two ways from the same map, added or put behind each other, cut to the smaller one."
    a, b = [draw(chain((c, h, w), 2)) for _ in range(2)]
    join = draw(st.sampled_from(['add', 'cat', 'mul']))
    def f(x, a, b):
        a, b = a(x), b(x)
        n, m = [min(a.shape[d], b.shape[d]) for d in (2, 3)]
        a, b = a[:, :, :n, :m], b[:, :, :n, :m]
        return torch.cat([a, b], 1) if join == 'cat' else a[:, :1] + b if join == 'add' else (a+1)*(b[:, :1]+1)
    return Do(join, f, a, b, regular=True)


WORDS = dict(conv=conv, conv2=conv, up_conv=up_conv, pool=pool, point=point, norm=norm, adaptive=adaptive, upsample=upsample, pad=pad, index=index, reshape=reshape, mix=mix,
             write=write, branches=branches)


@st.composite
def chain(draw, shape, most=6):
    "A `nn.Sequential` of some words."
    steps, (c, h, w) = [], shape
    for word in draw(st.lists(st.sampled_from([*WORDS]), min_size=1, max_size=most)):
        step = WORDS[word](draw, c, h, w)
        try: out = step.eval()(torch.zeros(1, c, h, w))
        except (RuntimeError, ValueError, IndexError, NotImplementedError): continue  # such as a kernel larger than the map
        if out.numel() and out.numel() < 4000: steps, (c, h, w) = [*steps, step], out.shape[1:]
    return nn.Sequential(*steps)


SHAPES = st.tuples(st.integers(1, 4), st.integers(4, 12), st.integers(4, 12))
MODELS = SHAPES.flatmap(lambda s: st.tuples(chain(s), st.just(s)))
IRREGULAR = nn.ConvTranspose2d, nn.Upsample, nn.PixelShuffle, nn.PixelUnshuffle, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.GroupNorm, nn.InstanceNorm2d


def regular(model):
    "Is it made of windows on a grid only, so that the recurrence is exact where nothing is cut off?"
    return not any(isinstance(m, IRREGULAR) or isinstance(m, Do) and not m.regular or getattr(m, 'padding_mode', 'zeros') != 'zeros' for m in model.modules())


HIDES = nn.Sigmoid, nn.GroupNorm, nn.InstanceNorm2d, nn.LocalResponseNorm  # a pixel that grows may change nothing behind these


def moved_by(model, size, at):
    """The pixels that move the output at a place when they grow, in double precision with positive weights: `[C,H,W]`. None where that
    does not show all."""
    mixed = ('squeeze and excite', 'attention', 'softmax')
    if any(isinstance(m, HIDES) or isinstance(m, Do) and m.text in mixed for m in model.modules()): return None
    n = math.prod(size)
    x = torch.rand(size, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 1e9*torch.eye(n+1, n, dtype=torch.float64).view(n+1, *size)
    grown = copy.deepcopy(model).double()
    for p in grown.parameters(): p.data.abs_().add_(.1)
    try:
        with torch.no_grad(): out = grown.eval()(x)
    except RuntimeError: return None
    if len(out) != n+1: return None  # it makes a batch of something else
    out = out[..., at['row'], at['col']] if at else out
    return ((out - out[-1]).abs() > 1e-12*out[-1].abs()).flatten(1).any(1)[:-1].view(size)  # beyond rounding


def traced(t, at):
    "The pixels on which the output depends at a place, by the rules: `[C,H,W]`."
    node = t.out[0][1]
    return walk_back(t, node, check_place(node, at.get('row'), at.get('col'), None)).get(t.image, torch.zeros(t.image.shape, dtype=torch.bool))[0]


def examine(model, size, rng):
    "Assert all that is promised, at one place of the output."
    before, states = {k: v.clone() for k, v in model.state_dict().items()}, (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state())
    x = torch.zeros(1, *size)
    with FlopCounterMode(display=False) as counter, torch.no_grad(), torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH): out = model.eval()(x)
    model.train()
    assert totals(arithmetic(model, size)) == dict(params=sum(p.numel() for p in model.parameters()), unused=0, multiplications=counter.get_total_flops()//2)
    t = trace_model(model, size)
    if not t.out:  # all was cut off, and the rest is padding
        for f in (receptive_field, trace_precedents, gradient_probe):
            with pytest.raises(ValueError, match='returns no tensor that is known to depend on the input'): f(model, size)
        return
    at = dict(row=rng.randrange(out.shape[2]), col=rng.randrange(out.shape[3])) if map_dims(t.out[0][1]) else {}
    moved = moved_by(model, size, at)
    if moved is not None: assert torch.equal(traced(t, at), moved), ((traced(t, at) & ~moved).nonzero(), (moved & ~traced(t, at)).nonzero(), at)
    exact, field = image_box(trace_precedents(model, size, **at)), receptive_field(model, size)
    probed = gradient_probe(model, size, **at)
    assert probed == exact, (probed, exact, at)
    if exact:
        wide = field.box(**at)
        assert all(a <= b and c >= d for (a, c), (b, d) in zip(wide, exact)), (wide, exact, at)
        if at: assert all(b-a <= s for (a, b), s in zip(exact, field.size)), (field, exact, at)
        if regular(model) and all(0 < a and b < n for (a, b), n in zip(wide, size[1:])): assert wide == exact, at
    assert all(m.training for m in model.modules()) and not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert random.getstate() == states[0] and np.random.get_state()[1].tolist() == states[1] and torch.equal(torch.get_rng_state(), states[2])


def check(case, number):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        warnings.filterwarnings('error', 'a fault of convlab')
        warnings.filterwarnings('error', 'convlab has no rule')
        examine(*case, random.Random(number))


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(MODELS, st.integers(0, 999))
def test_random_models(case, number): check(case, number)


def many(n, start):
    "Try `n` models from one seed of hypothesis's; say what fails, and go on."
    tried, failed, begin = [], 0, time.time()
    @seed(start)
    @settings(max_examples=n, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(MODELS, st.integers(0, 999))
    def run(case, number):
        nonlocal failed
        tried.append(sum(1 for _ in case[0].modules()))
        try: check(case, number)
        except Exception as e:
            failed += 1
            print(f'{type(e).__name__}: {e}', case, number, flush=True)
    run()
    print(f'seed {start}: {len(tried)} models of {sum(tried)/len(tried):.1f} modules, the largest of {max(tried)}, in {time.time()-begin:.0f} s; {failed} failed')


if __name__ == '__main__': many(*map(int, sys.argv[1:]))
