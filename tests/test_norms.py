"Our `BatchNorm2d` against PyTorch's, over every option, in training and then in `eval`."
import copy
import inspect
import io

import pytest
import torch
from fastcore.test import test_close as close
from fastcore.test import test_eq as eq
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from convlab.norms import BatchNorm2d, batch_normalize, batch_stats

has_bias = 'bias' in inspect.signature(nn.BatchNorm2d).parameters # newer versions of PyTorch only
tols = {torch.float64: 1e-10, torch.float32: 2e-4, torch.bfloat16: 3e-2, torch.float16: 4e-3}

options = st.fixed_dictionaries(dict(
    num_features=st.integers(1, 5), eps=st.sampled_from([1e-5, 1e-3, .1]),
    momentum=st.sampled_from([None, 0., .1, .37, 1.]), affine=st.booleans(),
    track_running_stats=st.booleans(), dtype=st.sampled_from([torch.float64, torch.float32])))
sizes = st.tuples(st.integers(1, 6), st.integers(1, 5), st.integers(1, 5)).filter(lambda o: o != (1, 1, 1))
modes = st.lists(st.sampled_from(['train', 'eval']), min_size=1, max_size=5)


def pair(seed=0, **kw): # ours and PyTorch's, with the same random gamma, beta and running averages
    ours,theirs = BatchNorm2d(**kw),nn.BatchNorm2d(**kw)
    gen = torch.Generator().manual_seed(seed)
    for o in theirs.parameters(): o.data.normal_(1, .5, generator=gen)
    ours.load_state_dict(theirs.state_dict())
    return ours,theirs


def batch(seed, size, nf, dtype=torch.float32, shift=2., scale=3.):
    n,h,w = size
    gen = torch.Generator().manual_seed(seed)
    per_channel = torch.randn(2, nf, 1, 1, generator=gen)
    x = torch.randn(n, nf, h, w, generator=gen)*scale*(.1+per_channel[0].abs()) + shift*per_channel[1]
    return x.to(dtype).requires_grad_()


def same(a, b, tol):
    eq(a.dtype, b.dtype)
    eq(a.shape, b.shape)
    torch.testing.assert_close(a, b, rtol=tol, atol=tol)


def same_state(a, b, tol):
    a,b = a.state_dict(),b.state_dict()
    eq(list(a), list(b))
    eq(a._metadata, b._metadata)
    for k in a: same(a[k], b[k], tol)


def same_step(ours, theirs, x, tol): # outputs, the gradients of x and of the parameters, then the buffers
    xs = [x.detach().clone().requires_grad_() for _ in range(2)]
    outs = [m(x) for m,x in zip((ours, theirs), xs)]
    same(*outs, tol)
    weight = torch.linspace(-1, 1, x.numel(), dtype=x.dtype).view_as(x)
    for out in outs: (out*weight).sum().backward() if out.requires_grad else None
    eq(xs[0].grad is None, xs[1].grad is None)
    size = max(1., xs[1].grad.abs().max().item()) if x.numel() else 1. # error grows with 1/std
    same(xs[0].grad/size, xs[1].grad/size, tol)
    for a,b in zip(ours.parameters(), theirs.parameters()):
        size = max(1., b.grad.abs().max().item())
        same(a.grad/size, b.grad/size, tol)
    same_state(ours, theirs, tol)
    return outs


@settings(max_examples=150, deadline=None)
@given(options, sizes, modes, st.integers(0, 2**31))
def test_any_option_in_any_order(kw, size, modes, seed):
    ours,theirs = pair(seed, **kw)
    eq([n for n,_ in ours.named_parameters()], [n for n,_ in theirs.named_parameters()])
    for i,mode in enumerate([*modes, 'eval']):
        for m in (ours, theirs): m.train(mode == 'train')
        same_step(ours, theirs, batch(seed+i, size, kw['num_features'], kw['dtype']), tols[kw['dtype']])


@settings(max_examples=40, deadline=None)
@given(st.lists(sizes, min_size=2, max_size=6), st.sampled_from([None, .1]), st.integers(0, 2**31))
def test_batches_of_different_sizes(sizes, momentum, seed):
    ours,theirs = pair(seed, num_features=3, momentum=momentum, dtype=torch.float64)
    for i,size in enumerate(sizes): same_step(ours, theirs, batch(seed+i, size, 3, torch.float64), 1e-10)
    for m in (ours, theirs): m.eval()
    same_step(ours, theirs, batch(seed, (1, 1, 1), 3, torch.float64), 1e-10) # one value is enough now


@pytest.mark.parametrize('xdt', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('mixed', [True, False])
@pytest.mark.parametrize('momentum', [None, .1])
def test_half_precision(xdt, mixed, momentum):
    mdt = torch.float32 if mixed else xdt
    ours,theirs = pair(num_features=4, momentum=momentum, dtype=mdt)
    for i in range(4): same_step(ours, theirs, batch(i, (8, 5, 5), 4, xdt), tols[xdt])
    for m in (ours, theirs): m.eval()
    same_step(ours, theirs, batch(9, (8, 5, 5), 4, xdt), tols[xdt])


def test_half_precision_keeps_precise_statistics():
    bn = BatchNorm2d(1, momentum=1.)
    x = (100 + torch.arange(4096.).view(16, 1, 16, 16)%2).bfloat16() # sums in bfloat16 would lose the 1s
    bn(x)
    close(bn.running_mean, x.double().mean((0,2,3)).float(), 1e-3)
    close(bn.running_var, x.double().var((0,2,3)).float(), 1e-3)


def test_autocast():
    ours,theirs = pair(num_features=4)
    net = nn.Conv2d(3, 4, 3)
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.autocast('cpu', torch.bfloat16): a,b = ours(net(x)),theirs(net(x))
    same(a, b, 3e-2)
    same_state(ours, theirs, 1e-3)


@pytest.mark.parametrize('kw', [dict(), dict(momentum=None), dict(affine=False), dict(track_running_stats=False),
    dict(affine=False, track_running_stats=False)])
def test_state_dict_both_ways(kw):
    make = dict(ours=lambda: BatchNorm2d(3, **kw), theirs=lambda: nn.BatchNorm2d(3, **kw))
    for src,dest in (('ours', 'theirs'), ('theirs', 'ours'), ('ours', 'ours')):
        a,b = make[src](),make[dest]()
        for i in range(3): a(batch(i, (4, 3, 3), 3))
        f = io.BytesIO()
        torch.save(a.state_dict(), f)
        f.seek(0)
        eq(str(b.load_state_dict(torch.load(f), strict=True)), '<All keys matched successfully>')
        same_state(a, b, 0.)
        x = batch(7, (4, 3, 3), 3)
        same(a.eval()(x), b.eval()(x), 1e-5)


def test_state_dict_inside_a_net():
    def net(bn): return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), bn(4), nn.Conv2d(4, 2, 3), bn(2))
    torch.manual_seed(0)
    ours,theirs = net(BatchNorm2d),net(nn.BatchNorm2d)
    ours.load_state_dict(theirs.state_dict())
    opts = [torch.optim.SGD(m.parameters(), .1) for m in (ours, theirs)]
    for i in range(10): # ten steps of training stay together
        x = batch(i, (8, 8, 8), 1).detach()
        losses = [m(x).pow(2).mean() + m(x).mean() for m in (ours, theirs)]
        close(losses[0].item(), losses[1].item(), 1e-3)
        for loss,opt in zip(losses, opts): opt.zero_grad(), loss.backward(), opt.step()
    theirs.load_state_dict(ours.state_dict())
    close(ours.eval()(x), theirs.eval()(x), 1e-4)


def test_new_layers_equal():
    for kw in (dict(), dict(eps=1e-3, momentum=None), dict(affine=False, track_running_stats=False)):
        same_state(BatchNorm2d(5, **kw), nn.BatchNorm2d(5, **kw), 0.)
        if has_bias: eq(repr(BatchNorm2d(5, **kw)), repr(nn.BatchNorm2d(5, **kw)))
    ours,theirs = [list(inspect.signature(c).parameters.items()) for c in (BatchNorm2d, nn.BatchNorm2d)]
    eq([(k,p.default,p.kind) for k,p in ours][:len(theirs)], [(k,p.default,p.kind) for k,p in theirs])


@pytest.mark.skipif(not has_bias, reason='this version of PyTorch has no option bias')
def test_without_beta():
    ours,theirs = pair(num_features=3, bias=False, dtype=torch.float64)
    eq((list(ours.state_dict()), ours.bias), (list(theirs.state_dict()), None))
    eq(repr(ours), repr(theirs))
    for i in range(3): same_step(ours, theirs, batch(i, (4, 3, 3), 3, torch.float64), 1e-10)


@pytest.mark.parametrize('scale, shift', [(1e-4, 0.), (1e4, 0.), (1., 1e3), (0., 5.)])
def test_extreme_values(scale, shift):
    ours,theirs = pair(num_features=3, dtype=torch.float64)
    same_step(ours, theirs, batch(3, (6, 4, 4), 3, torch.float64, shift=shift, scale=scale), 1e-8)


def test_gradients_numerically():
    bn = BatchNorm2d(2, dtype=torch.float64)
    x = batch(0, (3, 2, 2), 2, torch.float64)
    def f(x, w, b): return batch_normalize(x, *batch_stats(x), w, b)
    params = [torch.tensor(o, dtype=torch.float64, requires_grad=True) for o in ([1.5, -.5], [.2, 3.])]
    assert torch.autograd.gradcheck(f, (x, *params))
    assert torch.autograd.gradgradcheck(f, (x, *params))
    assert torch.autograd.gradcheck(bn.eval(), (x,))


def test_channels_last_and_empty():
    ours,theirs = pair(num_features=3)
    same_step(ours, theirs, batch(1, (4, 5, 5), 3).detach().to(memory_format=torch.channels_last), 2e-4)
    for mode in (True, False):
        for m in (ours, theirs): m.train(mode)
        for x in (torch.ones(0, 3, 2, 2), torch.ones(2, 3, 0, 4)): eq(ours(x).shape, theirs(x).shape)
    for name in ('running_mean', 'running_var'): same(getattr(ours, name), getattr(theirs, name), 1e-5) # none changes them


def test_copies_moves_and_resets_like_any_module():
    ours,theirs = pair(num_features=3)
    for m in (ours, theirs): m(batch(0, (4, 3, 3), 3))
    same_state(copy.deepcopy(ours), theirs, 1e-5)
    same_state(ours.double(), theirs.double(), 1e-5)
    for m in (ours, theirs): m.running_mean = m.running_var = None # then `eval` uses the batch's statistics
    x = batch(1, (4, 3, 3), 3, torch.float64)
    same(ours.eval()(x), theirs.eval()(x), 1e-9)


def test_switching_off_tracking_later():
    ours,theirs = pair(num_features=3)
    for m in (ours, theirs): m.track_running_stats = False
    same_step(ours, theirs, batch(0, (4, 3, 3), 3), 2e-4)
    for m in (ours, theirs): m.eval()
    same_step(ours, theirs, batch(1, (4, 3, 3), 3), 2e-4)


def test_channels_do_not_mix():
    bn,x = BatchNorm2d(3),batch(0, (4, 3, 3), 3).detach()
    before = bn(x)
    x[:,1] = 100*x[:,1] + 7
    torch.testing.assert_close(bn(x)[:,[0,2]], before[:,[0,2]])


@pytest.mark.parametrize('shape', [(4, 3, 2), (4, 3), (3,), (2, 3, 2, 2, 2)])
@pytest.mark.parametrize('mode', [True, False])
def test_wrong_dims(shape, mode):
    for cls in (BatchNorm2d, nn.BatchNorm2d):
        with pytest.raises(ValueError, match=rf'expected 4D input \(got {len(shape)}D input\)'):
            cls(3).train(mode)(torch.ones(shape))


def test_one_value_per_channel():
    x = torch.ones(1, 3, 1, 1)
    for cls in (BatchNorm2d, nn.BatchNorm2d):
        for bn in (cls(3), cls(3, track_running_stats=False).eval()):
            with pytest.raises(ValueError, match='Expected more than 1 value per channel when train'): bn(x)
        assert torch.isfinite(cls(3).eval()(x)).all()


def test_wrong_channels_and_dtypes():
    with pytest.raises(ValueError, match='x must have num_features=3 channels; got shape .4, 5, 2, 2.'):
        BatchNorm2d(3)(torch.ones(4, 5, 2, 2))
    f32,f64 = torch.float32,torch.float64
    for xdt,mdt in ((f64, f32), (f32, f64), (f32, torch.bfloat16), (torch.int64, f32)):
        x = torch.arange(12).view(1, 3, 2, 2).to(xdt)
        with pytest.raises(TypeError, match=f'x must be floating, of the layer.s dtype {mdt}.*got {xdt}'):
            BatchNorm2d(3, dtype=mdt)(x)
        with pytest.raises((RuntimeError, NotImplementedError)): nn.BatchNorm2d(3, dtype=mdt)(x)
    bare,x = BatchNorm2d(3, affine=False, track_running_stats=False),torch.ones(1, 3, 2, 2)
    with pytest.raises(TypeError): bare(x.long())
    eq(bare(x.double()).dtype, torch.float64) # with no tensor of its own a layer takes any floating dtype


@pytest.mark.parametrize('options', [dict(eps=0.), dict(eps=0, momentum=None), dict(momentum=0), dict(momentum=1),
    dict(eps=0., affine=False), dict(eps=1, track_running_stats=False), dict(num_features=0)])
def test_what_pytorch_takes_is_taken(options):
    kw = dict(num_features=3, dtype=torch.float64) | options
    ours,theirs = pair(**kw)
    eq(repr(ours), repr(theirs))
    if not kw['num_features']: return
    for i in range(2 if kw.get('eps', 1) else 0): same_step(ours, theirs, batch(i, (4, 3, 3), 3, torch.float64), 1e-9)
    for m in (ours, theirs): m.eval()
    x = batch(5, (4, 3, 3), 3, torch.float64)
    if not kw.get('eps', 1):
        try: theirs(x)
        except ValueError: pytest.skip('this PyTorch takes no eps of 0')
    same_step(ours, theirs, x, 1e-9)


def test_training_without_eps():
    "Newer versions of PyTorch refuse to; here it is the division that the formula says, by 0 where a channel is constant."
    bn,x = BatchNorm2d(3, eps=0, dtype=torch.float64),batch(0, (4, 3, 3), 3, torch.float64).detach()
    y = bn(x)
    torch.testing.assert_close(y.var((0,2,3), correction=0), torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(bn.running_var, .9 + .1*x.var((0,2,3)))
    assert bn(torch.ones_like(x)).isnan().all()


@pytest.mark.parametrize('options', [dict(num_features=-1), dict(num_features=1.5), dict(num_features='3'), dict(num_features=None)])
def test_what_pytorch_refuses_is_refused(options):
    for cls in (BatchNorm2d, nn.BatchNorm2d):
        with pytest.raises((TypeError, RuntimeError)): cls(**options)


@pytest.mark.parametrize('options', [dict(), dict(affine=False), dict(momentum=None), dict(track_running_stats=False)])
@pytest.mark.parametrize('nested', [False, True])
def test_state_dicts_from_before_batches_were_counted(options, nested):
    def net(cls): return nn.Sequential(nn.Conv2d(1, 3, 1), cls(3, **options)) if nested else cls(3, **options)
    source = net(nn.BatchNorm2d)
    source(batch(0, (4, 3, 3), 1 if nested else 3))
    old = {k: v for k,v in source.state_dict().items() if not k.endswith('num_batches_tracked')}
    for cls in (BatchNorm2d, nn.BatchNorm2d):
        dest = net(cls)
        eq(str(dest.load_state_dict(dict(old))), '<All keys matched successfully>')
        for k,v in old.items(): same(dest.state_dict()[k], v, 0.)
        if not options.get('track_running_stats', True): continue
        eq([v.item() for k,v in dest.state_dict().items() if k.endswith('tracked')], [0])
        new = {k: v for k,v in source.state_dict().items() if not k.endswith('num_batches_tracked')}
        from_new = type(source.state_dict())(new)
        from_new._metadata = source.state_dict()._metadata  # of today's version: then a missing key is an error
        with pytest.raises(RuntimeError, match='num_batches_tracked'): dest.load_state_dict(from_new)


def test_fastai_knows_it():
    from fastai.torch_core import norm_bias_params
    ours,theirs = [norm_bias_params(nn.Sequential(nn.Conv2d(1, 3, 1), cls(3)), False) for cls in (BatchNorm2d, nn.BatchNorm2d)]
    eq(len(ours), len(theirs))
