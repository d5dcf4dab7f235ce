"`conv2d` beside `F.conv2d` on random configurations, its argument forms, and what it refuses."
import itertools
import math
import warnings

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, assume, given, settings, strategies as st

from convlab.convolutions import conv2d, conv_matrix, im2col, out_size, tied_weights
from convlab.draw.windows import conv_equations, show_equations, show_film, show_ties, show_windows

methods = ['loops', 'im2col', 'matrix', 'fft']
fuzz = settings(max_examples=1000, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
few = settings(fuzz, max_examples=200)


@pytest.fixture(autouse=True, scope='module')
def one_thread():  # tensors this small are slower on several
    n = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n)


def either(draw, values):  # a number for both axes, a pair, or a pair of one, as `F.conv2d` takes them
    v = st.integers(*values)
    return draw(st.one_of(v, st.tuples(v, v), st.lists(v, min_size=2, max_size=2), st.tuples(v)))


def pair(v): return (v, v) if isinstance(v, int) else (*v,)*(3-len(v))


@st.composite
def configs(draw, most=24):  # shapes and arguments of a convolution with at most `most` numbers in each map
    groups, c, per = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 2))
    ks = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    dilation, stride = either(draw, (1, 3)), either(draw, (1, 3))
    padding = draw(st.sampled_from(['number', 'same', 'valid', 'number']))
    if padding == 'number': padding = either(draw, (0, 4))
    elif padding == 'same': stride = 1
    p = (0, 0) if isinstance(padding, str) else pair(padding)
    size = []
    for k, d, pad, s in zip(ks, pair(dilation), p, pair(stride)):
        span = d*(k-1)+1
        least = max(1, span-2*pad) if padding != 'same' else 1
        size.append(draw(st.integers(least, least + s*int(math.sqrt(most)-1))))
    lead = draw(st.sampled_from([(1,), (2,), (3,), (0,), ()]))
    kwargs = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
    return dict(x=(*lead, c*groups, *size), weight=(per*groups, c, *ks), bias=draw(st.booleans()),
                seed=draw(st.integers(0, 2**32)), kwargs=kwargs)


def tensors(cfg, dtype=torch.float64):
    g = torch.Generator().manual_seed(cfg['seed'])
    shapes = [cfg['x'], cfg['weight']] + [cfg['weight'][:1]]*cfg['bias']
    return [torch.randn(s, generator=g, dtype=torch.float64).to(dtype).requires_grad_() for s in shapes]


def run(f, args, **kwargs):  # the result, and the arguments' gradients
    with warnings.catch_warnings():  # PyTorch says that 'same' with an even kernel copies the input
        warnings.simplefilter('ignore', UserWarning)
        res = f(*args, **kwargs)
    g = torch.randn(res.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(res.dtype)
    return [res.detach(), *torch.autograd.grad(res, args, g)]


def check(cfg, dtype, tol):
    "Errors are relative to the largest number of the right answer, or to 1 where that is smaller."
    args = tensors(cfg, dtype)
    want = run(F.conv2d, args, **cfg['kwargs'])
    for method in methods:
        got = run(conv2d, args, **cfg['kwargs'], method=method)
        for name, a, b in zip(('result', 'x', 'weight', 'bias'), got, want):
            assert a.shape == b.shape and a.dtype == b.dtype, (method, name)
            if a.numel(): assert (a-b).abs().max().item() <= tol*max(1, b.abs().max().item()), (method, name)


@fuzz
@given(cfg=configs())
def test_float64(cfg): check(cfg, torch.float64, 1e-10)


@fuzz
@given(cfg=configs())
def test_float32(cfg): check(cfg, torch.float32, 1e-4)


# The other forms

def close(a, b, tol=1e-10): torch.testing.assert_close(a, b, atol=tol, rtol=tol)


@pytest.fixture
def case():
    g = torch.Generator().manual_seed(0)
    return [torch.randn(s, generator=g, dtype=torch.float64) for s in ((2, 4, 7, 9), (6, 2, 3, 2), (6,))]


@pytest.mark.parametrize('method', methods)
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_is_rounded_once(case, method, dtype):
    x, w, b = [t.to(dtype).requires_grad_() for t in case]
    res = conv2d(x, w, b, groups=2, method=method)
    exact = F.conv2d(*[t.detach().double() for t in (x, w, b)], groups=2)
    assert res.dtype == dtype
    step = torch.finfo(dtype).eps * exact.abs() + 1e-5
    assert ((res.double()-exact).abs() <= .51*step).all()
    grads = torch.autograd.grad(res.sum(), (x, w, b))
    wide = [t.detach().double().requires_grad_() for t in (x, w, b)]
    for a, e in zip(grads, torch.autograd.grad(F.conv2d(*wide, groups=2).sum(), wide)):
        assert a.dtype == dtype
        torch.testing.assert_close(a.double(), e, rtol=torch.finfo(dtype).eps, atol=1e-4)


@pytest.mark.parametrize('method', methods)
def test_gradients_of_some(case, method):
    x, w, b = case
    for which in range(3):
        args = [t.clone().requires_grad_(i == which) for i, t in enumerate((x, w, b))]
        conv2d(*args, groups=2, method=method).square().sum().backward()
        ref = [t.clone().requires_grad_(i == which) for i, t in enumerate((x, w, b))]
        F.conv2d(*ref, groups=2).square().sum().backward()
        for a, r in zip(args, ref): assert (a.grad is None) == (r.grad is None)
        close(args[which].grad, ref[which].grad)


@pytest.mark.parametrize('method', methods)
def test_second_gradients(case, method):
    args = [t.clone().requires_grad_() for t in (case[0][:1, :, :4, :4], *case[1:])]
    assert torch.autograd.gradgradcheck(lambda *a: conv2d(*a, groups=2, method=method), args)


@pytest.mark.parametrize('method', methods)
def test_memory_layouts(case, method):
    x, w, b = case
    want = F.conv2d(x, w, b, padding=1, groups=2)
    close(conv2d(x.to(memory_format=torch.channels_last), w, b, padding=1, groups=2, method=method), want)
    close(conv2d(x.mT.contiguous().mT, w.flip(0).flip(0), b, padding=1, groups=2, method=method), want)
    close(conv2d(x.repeat_interleave(2, -1)[..., ::2], w, b, padding=1, groups=2, method=method), want)


@pytest.mark.parametrize('method', methods)
def test_arguments_untouched(case, method):
    before = [t.clone() for t in case]
    conv2d(*case, padding=1, groups=2, method=method)
    for a, b in zip(case, before): assert torch.equal(a, b)


@pytest.mark.parametrize('method', methods)
def test_no_channels(method):  # the bias is left; `F.conv2d` returns maps of shape [2,0,3,3] here
    b = torch.tensor([1., 2, 3])
    res = conv2d(torch.zeros(2, 0, 5, 5), torch.zeros(3, 0, 3, 3), b, method=method)
    close(res, b.view(1, 3, 1, 1).expand(2, 3, 3, 3))


@pytest.mark.parametrize('method', methods)
def test_not_a_number_stays_visible(method):  # a NaN in a window must not be lost
    x = torch.randn(1, 1, 5, 5)
    x[0, 0, 2, 2] = math.nan
    assert conv2d(x, torch.ones(1, 1, 3, 3), method=method).isnan().all()


@few
@given(cfg=configs(), bad=st.sampled_from([math.inf, -math.inf, math.nan]), where=st.integers(0, 10_000), which=st.integers(0, 1))
def test_one_number_that_is_not_finite(cfg, bad, where, which):
    "In the picture or in the weight it is as far-reaching as in `F.conv2d`, and no farther."
    args = [t.detach() for t in tensors(cfg)]
    assume(args[which].numel())
    args[which].view(-1)[where % args[which].numel()] = bad
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', UserWarning)
        want = F.conv2d(*args, **cfg['kwargs'])
    for method in methods: torch.testing.assert_close(conv2d(*args, **cfg['kwargs'], method=method), want, equal_nan=True)


# Where nobody may look at the numbers

@pytest.mark.parametrize('method', methods)
@pytest.mark.parametrize('groups', [1, 2])
@pytest.mark.parametrize('dims', [3, 4])
def test_without_numbers(case, method, groups, dims):
    x, w, b = [t.to('meta') for t in case]
    args = (x[0] if dims == 3 else x), (w if groups == 2 else w.repeat(1, 2, 1, 1)), b
    res = conv2d(*args, padding=1, stride=2, groups=groups, method=method)
    assert res.is_meta and res.shape == F.conv2d(*args, padding=1, stride=2, groups=groups).shape


TRANSFORMS = {
    'pictures': lambda f, x, w, b: torch.vmap(lambda x: f(x, w, b))(x), 'pictures alone': lambda f, x, w, b: torch.vmap(lambda x: f(x[None], w, b))(x),
    'weights': lambda f, x, w, b: torch.vmap(lambda w: f(x, w, b))(torch.stack([w, -w])), 'biases': lambda f, x, w, b: torch.vmap(lambda b: f(x, w, b))(torch.stack([b, 2*b])),
    'all': lambda f, x, w, b: torch.vmap(f)(x, torch.stack([w, -w]), torch.stack([b, 2*b])), 'twice': lambda f, x, w, b: torch.vmap(torch.vmap(lambda x: f(x, w, b)))(x[None]),
    'gradient': lambda f, x, w, b: torch.func.grad(lambda w: f(x, w, b).sin().sum())(w), 'along': lambda f, x, w, b: torch.func.jvp(lambda x: f(x, w, b), (x,), (x,))[1],
    'gradients': lambda f, x, w, b: torch.vmap(torch.func.grad(lambda x: f(x, w, b).sin().sum()))(x), 'jacobian': lambda f, x, w, b: torch.func.jacrev(lambda b: f(x, w, b))(b)}


@pytest.mark.parametrize('method', methods)
@pytest.mark.parametrize('name', TRANSFORMS)
def test_inside_of_transforms(case, method, name):
    x, w, b = case[0][..., :5, :4], *case[1:]
    def run(f, **kw): return TRANSFORMS[name](lambda *args: f(*args, padding=1, groups=2, **kw), x, w, b)
    close(run(conv2d, method=method), run(F.conv2d))


@pytest.mark.parametrize('method', methods)
def test_numbers_that_are_not_finite_inside_of_vmap(case, method):
    x, w, b = case
    x[1, 0, 2, 3] = math.nan
    def run(f, **kw): return torch.vmap(lambda x: f(x, w, b, groups=2, **kw))(x)
    torch.testing.assert_close(run(conv2d, method=method), run(F.conv2d), equal_nan=True)


@pytest.mark.parametrize('method', methods)
def test_under_autocast_numbers_are_right_if_not_their_dtype(case, method):
    x, w, b = [t.float() for t in case]
    with torch.autocast('cpu', torch.bfloat16): res = conv2d(x, w, b, groups=2, method=method)
    assert res.dtype in (torch.bfloat16, torch.float32)
    assert (res.double() - F.conv2d(*case, groups=2)).abs().max() < .05*F.conv2d(*case, groups=2).abs().max()


def test_uneven_padding(case):
    x, w, b = case
    want = F.conv2d(F.pad(x, (0, 3, 1, 2)), w, b, groups=2)
    close(conv2d(x, w, b, padding=((1, 2), (0, 3)), groups=2), want)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device')
@pytest.mark.parametrize('method', methods)
@few
@given(cfg=configs())
def test_cuda(method, cfg):
    args = [t.detach().cuda().requires_grad_() for t in tensors(cfg)]
    def on_cpu(f, **kw): return [t.cpu() for t in grads_on(f, args, cfg, **kw)]
    for a, b in zip(on_cpu(conv2d, method=method), run(F.conv2d, tensors(cfg), **cfg['kwargs'])): close(a, b)


def grads_on(f, args, cfg, **kw):
    res = f(*args, **cfg['kwargs'], **kw)
    g = torch.randn(res.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(res)
    return [res.detach(), *torch.autograd.grad(res, args, g)]


# Sizes, windows, the matrix

def test_out_size_equals_torch():
    empty = {n: torch.empty(0, 1, n) for n in range(1, 13)}
    kernels = {k: torch.empty(1, 1, k) for k in range(1, 13)}
    fits, to12 = 0, range(1, 13)
    for n, ks, s, p, d in itertools.product(to12, to12, (1, 2, 3, 5, 12), (0, 1, 2, 6, 12), (1, 2, 3, 12)):
        try: want = F.conv1d(empty[n], kernels[ks], None, s, p, d).shape[2]
        except RuntimeError: want = None
        if want is None:
            with pytest.raises(ValueError, match='larger than the padded image'): out_size(n, ks, s, p, d)
        else:
            assert out_size(n, ks, s, p, d) == want
            fits += 1
    assert fits > 5000
    for n, ks, d in itertools.product(to12, to12, (1, 2, 3)): assert out_size(n, ks, 1, 'same', d) == n
    assert out_size(5, 4, padding=(1, 2)) == 5 and out_size(5, 3, 2, 'valid') == 2


@few
@given(cfg=configs())
def test_im2col_equals_unfold(cfg):
    x, kw = tensors(cfg)[0].detach(), {k: pair(cfg['kwargs'][k]) for k in ('stride', 'dilation')}
    padding, ks = cfg['kwargs']['padding'], cfg['weight'][2:]
    assume(x.numel() and padding != 'same')
    want = F.unfold(x, ks, padding=0 if padding == 'valid' else pair(padding), **kw)
    close(im2col(x, ks, padding=padding, **kw), want)


def test_im2col_of_any_dtype():
    x = torch.arange(16).view(1, 1, 4, 4)
    assert im2col(x, 2).dtype == torch.int64
    close(im2col(x, 2).double(), F.unfold(x.double(), 2))
    assert im2col(x[0] > 3, (2, 3)).shape == (6, 6)


@few
@given(cfg=configs())
def test_matrix(cfg):
    x, w = [t.detach() for t in tensors(cfg)[:2]]
    if x.dim() == 4: x = torch.randn(x.shape[1:], dtype=x.dtype, generator=torch.Generator().manual_seed(1))
    m = conv_matrix(w, x.shape, **cfg['kwargs'])
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', UserWarning)
        want = F.conv2d(x, w, **cfg['kwargs'])
    close((m @ x.flatten()).view_as(want), want)
    ties = tied_weights(w.shape, x.shape[1:], **cfg['kwargs'])
    assert ties.shape == m.shape and (m[ties < 0] == 0).all()
    assert torch.equal(m[ties >= 0], w.flatten()[ties[ties >= 0]])


def test_matrix_by_hand():
    m = conv_matrix(torch.tensor([[[[1., 2], [3, 4]]]]), (3, 3))
    assert m.tolist() == [[1, 2, 0, 3, 4, 0, 0, 0, 0], [0, 1, 2, 0, 3, 4, 0, 0, 0],
                          [0, 0, 0, 1, 2, 0, 3, 4, 0], [0, 0, 0, 0, 1, 2, 0, 3, 4]]


def test_equations():
    assert conv_equations(['ABC', 'DEF', 'GHJ'], ['αβ', 'γδ']) == [
        'αA + βB + γD + δE + b = P', 'αB + βC + γE + δF + b = Q',
        'αD + βE + γG + δH + b = R', 'αE + βF + γH + δJ + b = S']
    with pytest.raises(ValueError, match="out must have 4 letters; got 'PQ'"):
        conv_equations(['ABC', 'DEF', 'GHJ'], ['αβ', 'γδ'], 'PQ')


# What is refused, and how it is said

x, w = torch.zeros(2, 4, 6, 6), torch.zeros(6, 4, 3, 3)


@pytest.mark.parametrize('args,kwargs,error,says', [
    ((x, torch.zeros(6, 4, 7, 3)), {}, ValueError, 'kernel is larger than the padded image: ks 7'),
    ((x, w), dict(dilation=3), ValueError, 'ks 3 with dilation 3 spans 7 pixels, and there are 6'),
    ((x, torch.zeros(6, 3, 3, 3)), {}, ValueError, 'x has 4 channels, and weight is for 3'),
    ((x, w), dict(groups=2), ValueError, r'x has 4 channels, and weight is for 8 \(2 groups of 4\)'),
    ((x, w), dict(groups=4), ValueError, 'groups must divide the 6 kernels; got 4'),
    ((x, w), dict(groups=0), ValueError, 'groups must be a whole number of at least 1; got 0'),
    ((x, w), dict(groups=1.), TypeError, 'groups must be a whole number of at least 1; got 1.0'),
    ((x, w), dict(stride=1.5), TypeError, 'stride must be a whole number of at least 1; got 1.5'),
    ((x, w), dict(stride=(1, 1.5)), TypeError, 'stride must be a whole number of at least 1; got 1.5'),
    ((x, w), dict(stride='2'), TypeError, "stride must be a whole number of at least 1; got '2'"),
    ((x, w), dict(stride=0), ValueError, 'stride must be a whole number of at least 1; got 0'),
    ((x, w), dict(stride=(1, 1, 1)), ValueError,
     r'stride must be a number or \(rows, columns\); got \(1, 1, 1\)'),
    ((x, w), dict(dilation=0), ValueError, 'dilation must be a whole number of at least 1; got 0'),
    ((x, w), dict(padding=-1), ValueError, 'padding must be a whole number of at least 0; got -1'),
    ((x, w), dict(padding=.5), TypeError, 'padding must be a whole number of at least 0; got 0.5'),
    ((x, w), dict(padding='full'), ValueError,
     r"padding must be 'same', 'valid', a number, or \(before, after\); got 'full'"),
    ((x, w), dict(padding='same', stride=2), ValueError,
     "padding='same' needs stride 1, to keep the size; got 2"),
    ((x, w), dict(method='winograd'), ValueError,
     r"method must be one of \['loops', 'im2col', 'matrix', 'fft'\]; got 'winograd'"),
    ((x, w[0]), {}, ValueError, r'weight must be a tensor \[nf,C/groups,kh,kw\]; got shape \[4, 3, 3\]'),
    ((x[0, 0], w), {}, ValueError, r'x must be a tensor \[N,C,H,W\] or \[C,H,W\]; got shape \[6, 6\]'),
    ((x, w, torch.zeros(5)), {}, ValueError, 'bias must have 6 numbers, one for each kernel; got 5'),
    ((x, w, torch.zeros(6, 1)), {}, ValueError, r'bias must be a tensor \[nf\]; got shape \[6, 1\]'),
    ((x, w.double()), {}, TypeError, 'weight must have the dtype of x, torch.float32; got torch.float64'),
    ((x.long(), w.long()), {}, TypeError, 'x must hold floating-point numbers; got torch.int64'),
    (([[1.]], w), {}, TypeError, 'x must be a tensor .* got list'),
    ((x[:, :, :0], w), dict(padding=3), ValueError, 'n must be a whole number of at least 1; got 0'),
    ((x, torch.zeros(0, 4, 3, 3)), {}, ValueError, 'weight must have at least one kernel'),
])
def test_refused(args, kwargs, error, says):
    with pytest.raises(error, match=says): conv2d(*args, **kwargs)


@pytest.mark.parametrize('call,error,says', [
    (lambda: im2col(torch.zeros(5, 5), 3), ValueError, r'x must be a tensor .* got shape \[5, 5\]'),
    (lambda: im2col([1], 3), TypeError, 'got list'),
    (lambda: im2col(x, 7), ValueError, 'kernel is larger'),
    (lambda: im2col(x, 2.5), TypeError, 'ks must be a whole number of at least 1; got 2.5'),
    (lambda: conv_matrix(w, (5, 6, 6)), ValueError, r'input_size \(5, 6, 6\) has 5 channels, .* for 4'),
    (lambda: conv_matrix(w, (6,)), ValueError, r'input_size must be 2 whole numbers of at least 1; got \(6,\)'),
    (lambda: conv_matrix(w, (6, 6.5)), TypeError, r'input_size must be 2 whole numbers of at least 1; got \(6, 6.5\)'),
    (lambda: conv_matrix(w[0], (6, 6)), ValueError, r'weight must be a tensor .* got shape \[4, 3, 3\]'),
    (lambda: tied_weights((1, 3, 3), (6, 6)), ValueError, 'weight_size must be 4 whole numbers'),
    (lambda: tied_weights((6, 4, 3, 3), (6, 6), groups=4), ValueError, 'groups must divide'),
    (lambda: out_size(0, 1), ValueError, 'n must be a whole number of at least 1; got 0'),
    (lambda: out_size(5, 0), ValueError, 'ks must be a whole number of at least 1; got 0'),
    (lambda: out_size(5, 6), ValueError, r'spans 6 pixels, and there are 5 \(n 5, padding 0\)'),
    (lambda: out_size(5, 3, padding=(1, 2, 3)), ValueError, r'padding must be .* got \(1, 2, 3\)'),
    (lambda: show_windows(3, 5), ValueError, 'kernel is larger'),
])
def test_others_refuse(call, error, says):
    with pytest.raises(error, match=says): call()


# Drawing, and what importing costs

def png(axs):
    import io
    import numpy as np
    buf = io.BytesIO()
    np.ravel(axs)[0].figure.savefig(buf, format='png')
    return buf.getvalue()


@pytest.mark.parametrize('draw', [
    lambda: png(show_windows(5, 3, 2, 1)), lambda: png(show_equations(['ABC', 'DEF', 'GHJ'], ['αβ', 'γδ'])),
    lambda: png(show_ties(tied_weights((1, 1, 2, 2), (3, 3)), 'αβγδ', 'ABCDEFGHJ', 'PQRS')),
    lambda: png(show_ties(tied_weights((2, 1, 3, 3), (5, 5)), size=.1)),
    lambda: show_film(torch.arange(25.).view(5, 5), torch.eye(3), 2, 1).data])
def test_drawn_the_same_twice(draw):
    import matplotlib
    import matplotlib.pyplot as plt
    matplotlib.use('agg')
    assert draw() == draw()
    plt.close('all')


def test_windows_drawn():
    "Every window has its outline where the numbers say, in the rows that were asked for."
    axs = show_windows(7, 3, stride=2, padding=1, rows=2)
    assert axs.shape == (2, 4)
    for i in range(2):
        for j in range(4):
            box = axs[i, j].patches[-1]
            assert (box.get_y(), box.get_x(), box.get_width()) == (2*i-1.5, 2*j-1.5, 3)


def test_film_moves():
    import io
    from PIL import Image
    film = Image.open(io.BytesIO(show_film(torch.arange(25.).view(5, 5), torch.eye(3), 2, 1, ms=300).data))
    frames = []
    for i in range(film.n_frames):
        film.seek(i)
        frames.append(film.convert('RGB').tobytes())
        assert film.info['duration'] == 300 and film.convert('RGB').getpixel((0, 0)) == (255, 255, 255)
    assert film.n_frames == 9 and len(set(frames)) == 9 and film.info['loop'] == 0


def test_frame_says_what_conv2d_says():
    from matplotlib.figure import Figure
    from convlab.draw import windows
    im, kernel = torch.arange(-6., 14).view(4, 5), torch.tensor([[1., 2], [0, -1]])
    rows, cols = windows.axes(im.shape, (2, 2), padding=1)
    padded = F.pad(im, (1, 1, 1, 1))
    res = F.conv2d(padded[None, None], kernel[None, None])[0, 0]
    for k in (0, 7, 29):
        fig = Figure()
        windows._film_frame(fig, k, im, padded, kernel, res, rows, cols, '{:g}')
        assert fig.axes[1].get_title() == f'products, sum {res.flatten()[k]+0:g}'
        assert sum(float(t.get_text()) for t in fig.axes[1].texts) == res.flatten()[k]
        assert [float(t.get_text()) for t in fig.axes[2].texts if t.get_visible()] == res.flatten()[:k+1].tolist()


def test_colors_stay_as_they_are_in_a_film():
    "The last window has no negative product; others have."
    from matplotlib.figure import Figure
    from convlab.draw import windows
    im, kernel = torch.arange(-6., 14).view(4, 5), torch.ones(2, 2)
    rows, cols = windows.axes(im.shape, (2, 2))
    res, fig = F.conv2d(im[None, None], kernel[None, None])[0, 0], Figure()
    for k in (0, 11):
        windows._film_frame(fig, k, im, im, kernel, res, rows, cols, '{:g}')
        cells = fig.axes[1].collections[0]
        assert cells.cmap.name == 'signed' and cells.get_clim() == (-13, 13)
    assert cells.get_array().min() > 0


@pytest.mark.parametrize('make', [lambda: conv_matrix(torch.zeros(1, 1, 3, 3), (512, 512)),
                                  lambda: conv2d(torch.zeros(1, 3, 224, 224), torch.zeros(8, 3, 3, 3), method='matrix')])
def test_a_matrix_too_large_is_refused(make):
    with pytest.raises(ValueError, match="too many to keep; take method='im2col'"): make()


@pytest.mark.parametrize('size', [1e36, 1e37])
def test_numbers_too_large_for_the_waves(size):
    "By 'fft' sums of all pixels come up that no result has: where they overflow, the results must not be lost."
    torch.manual_seed(0)
    x,w = torch.randn(1, 2, 28, 28)*size,torch.randn(3, 2, 3, 3)/9
    want = F.conv2d(x, w)
    assert want.isfinite().all()
    torch.testing.assert_close(conv2d(x, w, method='fft')/size, want/size, rtol=1e-4, atol=1e-4)
