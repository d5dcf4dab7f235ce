"`convlab.training`: the schedule, the optimizer and the Learner against fastai's and PyTorch's; seeds; errors; the chapter's cells."
import platform
import subprocess
from contextlib import nullcontext
from copy import deepcopy

import matplotlib
import pytest
from hypothesis import given, settings, strategies as st

from convlab import training
from convlab.all import *

matplotlib.use('Agg')
for _name in [n for n in globals() if n.startswith('test')]: del globals()[_name]  # fastcore's, which are no tests


@pytest.fixture(scope='module')
def path(): return mnist_path(source='embedded')


@pytest.fixture(scope='module')
def dls(path): return get_dls(512, path)  # 7 updates an epoch


def quiet(learn): return ContextManagers([learn.no_bar(), learn.no_logging()])


def recorded(n, lr, kwargs):
    "Learning rates and momentums that fastai records in `n` updates of a network with one weight."
    dl = DataLoader(list(zip(torch.randn(2*n, 1), torch.randn(2*n, 1))), bs=2)
    learn = Learner(DataLoaders(dl, dl), nn.Linear(1, 1), loss_func=F.mse_loss)
    with quiet(learn): learn.fit_one_cycle(1, lr, **kwargs)
    return learn.recorder.hps


# The schedule

@pytest.mark.parametrize('n', [1, 2, 3, 10, 117])
@pytest.mark.parametrize('kwargs', [{}, dict(div=10., div_final=100., pct_start=0.4), dict(pct_start=0.9, moms=(0.9, 0.8, 0.99))])
def test_schedule_is_fastais(n, kwargs):
    lrs, moms = one_cycle_schedule(n, 0.06, **kwargs)
    hps = recorded(n, 0.06, kwargs)
    assert lrs.shape == moms.shape == (n,)
    np.testing.assert_allclose(lrs, np.array(hps['lr'], dtype=float), atol=1e-7)
    np.testing.assert_allclose(moms, hps['mom'], atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(n=st.integers(4, 300), lr=st.floats(1e-4, 10), div=st.floats(1.5, 100), drop=st.floats(2, 1e5), pct=st.floats(0.05, 0.9))
def test_schedule_is_torchs_with_one_step_more(n, lr, div, drop, pct):
    opt = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr, momentum=0.9)
    sched = torch.optim.lr_scheduler.OneCycleLR(opt, lr, total_steps=n+1, pct_start=(pct*n+1)/(n+1), div_factor=div,
                                                final_div_factor=drop, base_momentum=0.85, max_momentum=0.95)
    theirs = []
    for _ in range(n):
        theirs.append((opt.param_groups[0]['lr'], opt.param_groups[0]['momentum']))
        opt.step()
        sched.step()
    lrs, moms = one_cycle_schedule(n, lr, div=div, div_final=div*drop, pct_start=pct)
    np.testing.assert_allclose(lrs, [o[0] for o in theirs], rtol=1e-9, atol=1e-12*lr)
    np.testing.assert_allclose(moms, [o[1] for o in theirs], rtol=1e-9)


@given(n=st.integers(1, 500), lr=st.floats(1e-6, 1e3), pct=st.floats(0, 1))
def test_schedule_stays_in_bounds(n, lr, pct):
    lrs, moms = one_cycle_schedule(n, lr, pct_start=pct)
    assert torch.isfinite(lrs).all() and torch.isfinite(moms).all()
    assert lrs.min() >= lr/1e5*(1-1e-9) and lrs.max() <= lr*(1+1e-9)
    assert moms.min() >= 0.85-1e-9 and moms.max() <= 0.95+1e-9


@pytest.mark.parametrize('kwargs, error, match', [
    (dict(n_steps=0), ValueError, 'n_steps must be at least 1; got 0'), (dict(n_steps=-3), ValueError, 'n_steps'),
    (dict(n_steps=2.5), TypeError, 'n_steps must be an integer; got 2.5'), (dict(n_steps=True), TypeError, 'n_steps'),
    (dict(lr_max=0), ValueError, 'lr_max must be positive'), (dict(lr_max=-1.), ValueError, 'lr_max'),
    (dict(lr_max=math.inf), ValueError, 'lr_max'), (dict(lr_max=math.nan), ValueError, 'lr_max'),
    (dict(lr_max='0.1'), TypeError, 'lr_max must be a number'), (dict(div=0), ValueError, 'div must'),
    (dict(div_final=-1), ValueError, 'div_final'), (dict(pct_start=1.1), ValueError, 'pct_start must be between 0 and 1; got 1.1'),
    (dict(pct_start=-0.1), ValueError, 'pct_start'), (dict(moms=(0.95, 0.85)), ValueError, 'moms must be three')])
def test_schedule_errors(kwargs, error, match):
    with pytest.raises(error, match=match): one_cycle_schedule(**{**dict(n_steps=10, lr_max=0.1), **kwargs})


# The optimizer

def optimizers(model, **kwargs):
    "fastai's and ours, on two copies of `model`, with biases and normalization layers freed of weight decay as a `Learner` does."
    for opt_func in (Adam, FusedAdam):
        learn = Learner(DataLoaders([], []), deepcopy(model), loss_func=F.cross_entropy, opt_func=opt_func)
        learn.create_opt()
        learn.opt.set_hypers(**kwargs)
        yield learn


@pytest.mark.parametrize('hyper', [dict(lr=0.01), dict(lr=0.05, wd=0.3, mom=0.8, sqr_mom=0.9, eps=1e-3), dict(lr=0.01, wd=0.)])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_fused_adam_is_fastais(hyper, dtype):
    set_seed(0)
    theirs, ours = optimizers(simple_cnn(norm=nn.BatchNorm2d).to(dtype), **hyper)
    for step in range(12):
        mom = 0.95 - 0.01*step  # as a schedule does
        for learn in (theirs, ours):
            learn.opt.set_hyper('mom', mom)
            torch.manual_seed(step)
            for p in learn.model.parameters(): p.grad = torch.randn_like(p)
            learn.opt.step()
            learn.opt.zero_grad()
    for p, q in zip(theirs.model.parameters(), ours.model.parameters()):
        torch.testing.assert_close(p, q, rtol=0, atol=2e-5 if dtype is torch.float32 else 1e-12)


def test_fused_adam_decays_weights_only():
    set_seed(0)
    model = simple_cnn(norm=nn.BatchNorm2d)
    before = {n: p.clone() for n, p in model.named_parameters()}
    _, ours = optimizers(model, lr=0.1, wd=0.5)
    for p in ours.model.parameters(): p.grad = torch.zeros_like(p)
    ours.opt.step()
    for n, p in ours.model.named_parameters():
        torch.testing.assert_close(p, before[n]*(0.95 if p.ndim == 4 else 1.))


def test_fused_adam_leaves_what_has_no_gradient():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    opt = FusedAdam(list(model.parameters()), lr=0.1)
    before = model[1].weight.clone()
    model[0](torch.ones(1, 2)).sum().backward()
    opt.step()
    assert torch.equal(model[1].weight, before) and model[1].weight not in opt.state or not opt.state[model[1].weight]
    with pytest.raises(NotImplementedError, match='closure'): opt.step(lambda: 0)


def test_fused_adam_goes_on_after_saving(dls, tmp_path):
    learn = fit(simple_cnn, dls, lr=0.01, stats=False, seed=0, progress=False)
    learn.path = tmp_path
    learn.save('half')
    other = FastLearner(dls, simple_cnn(), loss_func=F.cross_entropy, opt_func=FusedAdam, metrics=accuracy, path=tmp_path)
    other.load('half', with_opt=True)
    for o in (learn, other):
        dls.train.rng.seed(9)
        with quiet(o): o.fit(1, 0.01)
    for p, q in zip(learn.model.parameters(), other.model.parameters()): assert torch.equal(p, q)


# The Learner

class Diary(Callback):
    "Every event that fastai calls, in order."
    def __init__(self): self.events = []


for _name in [e for e in vars(event) if not e.startswith('_')]:
    setattr(Diary, _name, lambda self, _name=_name: self.events.append(_name))


class Once(Callback):
    "Switches itself off after its first batch, and wants to be on again in the next fit."
    seen = 0
    def after_batch(self):
        self.seen += 1
        self.run = False


def events(cls, dls):
    set_seed(0)
    learn = cls(dls, simple_cnn(), loss_func=F.cross_entropy, metrics=accuracy, cbs=[Diary(), Once()])
    with quiet(learn):
        learn.fit(1, 0.01)
        learn.fit(1, 0.01)
        learn.remove_cb(Once)
        learn.fit(1, 0.01, cbs=ShortEpochCallback(pct=0.5))
    return learn.diary.events


def test_fast_learner_calls_the_same_events(dls): assert events(FastLearner, dls) == events(Learner, dls)


def test_fast_learner_asks_a_callback_again_after_a_fit(dls):
    learn = FastLearner(dls, simple_cnn(), loss_func=F.cross_entropy, cbs=Once())
    with quiet(learn):
        learn.fit(1, 0.01)
        learn.fit(1, 0.01)
    assert learn.once.seen == 2


def test_fast_learner_calls_events_given_as_arguments(dls):
    seen = []
    learn = FastLearner(dls, simple_cnn(), loss_func=F.cross_entropy, cbs=Callback(after_batch=lambda self: seen.append(self.training)))
    with quiet(learn): learn.fit(1, 0.01)
    assert seen == [True]*7 + [False]*2


# fit

@pytest.mark.parametrize('one_cycle', [False, True])
def test_fit_is_a_learners_fit(dls, one_cycle):
    ours = fit(simple_cnn, dls, 2, 0.01, one_cycle, stats=False, seed=4, progress=False)
    set_seed(4)
    for dl in dls.loaders: dl.rng.seed(4)
    learn = Learner(dls, simple_cnn(), loss_func=F.cross_entropy, metrics=accuracy)
    with quiet(learn): (learn.fit_one_cycle if one_cycle else learn.fit)(2, 0.01)
    np.testing.assert_allclose(ours.recorder.losses, learn.recorder.losses, atol=1e-4)
    np.testing.assert_allclose(ours.recorder.values[-1], learn.recorder.values[-1], atol=5e-3)
    assert ours.recorder.lrs == learn.recorder.lrs


def test_seed_decides_everything(dls):
    a, b, c = [fit(partial(simple_cnn, norm=nn.BatchNorm2d), dls, lr=0.01, one_cycle=True, stats=s, seed=k, progress=False)
               for k, s in ((1, True), (1, False), (2, False))]
    pairs = [list(zip(o.model.state_dict().values(), a.model.state_dict().values())) for o in (b, c)]
    assert all(torch.equal(p, q) for p, q in pairs[0])  # statistics change nothing
    assert not all(torch.equal(p, q) for p, q in pairs[1])


def test_fit_trains_the_module_it_is_given(dls):
    model = simple_cnn()
    learn = fit(model, dls, 3, 0.01, progress=False)
    assert learn.model is model and len(learn.recorder.values) == 3
    assert len(learn.activation_stats.layer_stats(-2)[0]) == 21
    learn.fit(1, 0.001)  # it goes on like any Learner
    assert not hasattr(fit(model, dls, lr=0.01, stats=False, progress=False), 'activation_stats')


def test_progress(dls, capsys):
    fit(simple_cnn, dls, lr=0.01, stats=False, progress=False)
    assert capsys.readouterr().out == ''
    fit(simple_cnn, dls, lr=0.01, stats=False)
    out = capsys.readouterr()
    assert 'accuracy' in out.out and out.err == ''


def test_one_cycle_learns(dls):
    "Mean of three seeds on 4,000 digits; measured 93 % and more with every seed."
    accs = [fit(simple_cnn, dls, 8, 0.03, True, stats=False, seed=s, progress=False).recorder.values[-1][2] for s in range(3)]
    assert np.mean(accs) > 0.9


def test_diverging_training_ends_with_a_result(dls):
    learn = fit(simple_cnn, dls, lr=1e30, seed=0, progress=False)
    assert 0 <= learn.recorder.values[-1][2] < 0.3


@pytest.mark.parametrize('kwargs, error, match', [
    (dict(lr=0), ValueError, 'lr must be positive and finite; got 0'), (dict(lr=-0.1), ValueError, 'lr must be positive'),
    (dict(lr=math.nan), ValueError, 'lr must'), (dict(lr='fast'), TypeError, "lr must be a number; got 'fast'"),
    (dict(epochs=0), ValueError, 'epochs must be at least 1; got 0'), (dict(epochs=-1), ValueError, 'epochs'),
    (dict(epochs=1.5), TypeError, 'epochs must be an integer'), (dict(seed='one'), TypeError, 'seed must be an integer or None'),
    (dict(seed=1.5), TypeError, 'seed'), (dict(model=3), TypeError, 'model must be an nn.Module or a function that makes one; got 3'),
    (dict(model=lambda: 3), TypeError, r'model\(\) must return an nn.Module; got int'),
    (dict(model=nn.Flatten()), ValueError, 'model must have parameters to train'),
    (dict(dls=[1, 2]), TypeError, 'dls must be fastai DataLoaders, as get_dls makes; got list'),
    (dict(dls=None), TypeError, 'dls must be fastai DataLoaders')])
def test_fit_errors(dls, kwargs, error, match):
    with pytest.raises(error, match=match): fit(**{**dict(model=simple_cnn, dls=dls), **kwargs})


def test_fit_needs_a_batch_and_two_loaders(dls, path):
    with pytest.raises(ValueError, match='dls.train must have a batch at least; got bs=4001 for 4000'):
        fit(simple_cnn, get_dls(4001, path))
    with pytest.raises(ValueError, match='dls must have two loaders'): fit(simple_cnn, DataLoaders(dls.train))


# The chapter's training cells: same names, same calls, only the digits come from elsewhere

@pytest.fixture
def no_figures():
    yield
    plt.close('all')


def test_chapter_two_classes(no_figures):
    dls = get_dls(64, mnist_path(sample=True, source='embedded'))
    cnn = sequential(conv(1, 4), conv(4, 8), conv(8, 16), conv(16, 32), conv(32, 2, act=False), Flatten())
    learn = Learner(dls, cnn, loss_func=F.cross_entropy, metrics=accuracy)
    learn.fit_one_cycle(2, 0.01)
    assert len(learn.recorder.values) == 2 and learn.recorder.values[-1][2] > 0.9


@pytest.mark.parametrize('bs', [64, 512])
def test_chapter_baseline(path, bs, no_figures):
    dls = get_dls(bs, path)
    learn = Learner(dls, simple_cnn(), loss_func=F.cross_entropy, metrics=accuracy, cbs=ActivationStats(with_hist=True))
    learn.fit(1, 0.06)
    for layer in (0, -2): learn.activation_stats.plot_layer_stats(layer)
    assert len(learn.activation_stats.layer_stats(-2)[0]) == len(dls.train)


@pytest.mark.parametrize('norm, idx, calls', [(None, -2, [(1, 0.06)]), (nn.BatchNorm2d, -4, [(1, 0.06), (2, 0.1)])])
def test_chapter_one_cycle_and_batch_norm(dls, norm, idx, calls, no_figures):
    for epochs, lr in calls:
        learn = Learner(dls, simple_cnn(norm=norm), loss_func=F.cross_entropy, metrics=accuracy, cbs=ActivationStats(with_hist=True))
        learn.fit_one_cycle(epochs, lr)
        learn.recorder.plot_sched()
        learn.activation_stats.plot_layer_stats(-2)
        learn.activation_stats.color_dim(idx)
        assert learn.activation_stats.hist(idx).shape == (40, epochs*len(dls.train))


# -- channels last ---------------------------------------------------------------------------------------------------------

def layouts(learn):
    "Are parameters, their gradients and what the optimizer remembers of them in the usual order?"
    ps = list(learn.model.parameters())
    kept = [v for p in ps if learn.opt for v in learn.opt.state[p].values() if isinstance(v, torch.Tensor)]
    return all(t.is_contiguous() for t in [*ps, *kept, *(p.grad for p in ps if p.grad is not None)])


class Note(Callback):
    "Notes the order of the second layer's weights and outputs; stops at a batch if told to."
    def __init__(self, stop=None): self.stop, self.seen = stop, []

    def after_backward(self):
        w = self.learn.model[1][0].weight
        self.seen.append((w.is_contiguous(memory_format=torch.channels_last), w.grad.is_contiguous(memory_format=torch.channels_last)))
        if self.stop and len(self.seen) == 2: raise self.stop


@pytest.mark.parametrize('stop', [None, KeyboardInterrupt(), RuntimeError('broken')], ids=['to the end', 'interrupt', 'error'])
def test_channels_come_last_only_while_training(monkeypatch, path, stop):
    note, learners = Note(stop), []
    class Watched(training.FastLearner):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.add_cb(note)
            learners.append(self)
    monkeypatch.setattr(training, 'FastLearner', Watched)
    with pytest.raises(type(stop)) if stop else nullcontext():
        fit(simple_cnn(norm=nn.BatchNorm2d), get_dls(64, path), 1, 0.01, seed=0, progress=False)
    learn, = learners
    assert set(note.seen) == {(True, True)} and layouts(learn)
    assert not any('forward' in vars(m) for m in learn.model.modules())
    learn.remove_cb(note)
    with quiet(learn): learn.fit(1, 0.01)
    assert layouts(learn) and learn.recorder.values[-1][2] > 0.5


def test_a_model_that_views_its_activations_is_left_alone(path):
    class Views(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.lin = nn.Conv2d(1, 8, 3, stride=2), nn.Linear(8*13*13, 10)
        def forward(self, x): return self.lin(self.conv(x).relu().view(x.shape[0], -1))
    assert not training._takes_any_order(Views()) and not training._takes_any_order(nn.Sequential(nn.Conv3d(1, 2, 3)))
    hooked = nn.Sequential(nn.Conv2d(1, 2, 3))
    hooked[0].register_forward_hook(lambda m, i, o: o.view(-1))
    assert not training._takes_any_order(hooked) and training._takes_any_order(simple_cnn(norm=nn.BatchNorm2d))
    assert fit(Views(), get_dls(64, path), 1, 0.01, seed=0, progress=False).recorder.values[-1][2] > 0.5


# Batch normalization of few channels

def normalized(forward, m, x, frozen=False):
    "What `forward` makes of `m` and `x`, with all gradients and running averages."
    m, x = deepcopy(m), x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    m.weight.requires_grad_(not frozen)
    y = forward(m, x)
    set_seed(1)
    (y*torch.randn_like(y)).sum().backward()
    return y, x.grad, m.weight.grad, m.bias.grad, m.running_mean, m.running_var, m.num_batches_tracked


@pytest.mark.parametrize('frozen', [False, True])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('shape', [(64, 8, 14, 14), (50, 3, 31, 30), (64, 15, 9, 9), (65, 1, 33, 32)])
def test_few_channels_are_normalized_as_pytorch_does(shape, dtype, frozen):
    set_seed(0)
    m = nn.BatchNorm2d(shape[1], eps=1e-3, momentum=0.3).to(dtype)
    nn.init.uniform_(m.weight), nn.init.uniform_(m.bias)
    x = (torch.randn(shape, dtype=dtype)*3+5).to(memory_format=torch.channels_last)
    assert training._few_channels(m)
    for a, b in zip(normalized(training._norm_forward, m, x, frozen), normalized(nn.BatchNorm2d.forward, m, x, frozen), strict=True):
        if a is None: assert b is None and frozen
        else: torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5*b.abs().max().item())


@pytest.mark.parametrize('x', [torch.randn(64, 8, 14, 14), torch.randn(2, 8, 3, 3).to(memory_format=torch.channels_last),
                               torch.randn(64, 8, 14, 14).to(memory_format=torch.channels_last)], ids=['channels first', 'few', 'eval'])
def test_pytorch_normalizes_what_is_not_worth_it(monkeypatch, x):
    monkeypatch.setattr(training._RowNorm, 'apply', lambda *args: pytest.fail('not worth it'))
    m = nn.BatchNorm2d(8).train(x.shape[0] < 64 or x.is_contiguous())
    torch.testing.assert_close(training._norm_forward(m, x), m(x))


def test_norms_with_other_options_are_left_alone():
    for kwargs in (dict(affine=False), dict(track_running_stats=False), dict(momentum=None)):
        assert not training._few_channels(nn.BatchNorm2d(8, **kwargs))
    assert not training._few_channels(nn.BatchNorm2d(16)) and not training._few_channels(nn.Conv2d(8, 8, 1))
    with pytest.raises(ValueError, match='more than 1 value per channel'):
        training._norm_forward(nn.BatchNorm2d(8), torch.randn(1, 8, 1, 1))


# Memory

@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='only glibc can be asked to keep memory')
def test_memory_is_kept_while_training():
    "In a process of its own, since what glibc is asked for lasts."
    code = """
import resource, torch
from convlab.training import _memory_kept
def pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5): [torch.ones(2**20) for _ in range(25)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
usual = pages()
with _memory_kept(): pages(); kept = pages()
again = pages()
print(usual, kept, again)
"""
    env = {k: v for k, v in os.environ.items() if not k.startswith('MALLOC_')}
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True, env=env)
    usual, kept, again = map(int, done.stdout.split())
    # The first round may leave no hole for one of the 25 tensors, which then takes new pages, once
    assert kept <= 2*1024 < usual/5 and again > 10_000, done.stdout  # in between it was all given back
