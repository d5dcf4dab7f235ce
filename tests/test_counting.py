"Products of operations: against PyTorch's counter, against loops, and an empty cell for what nobody knows."
import itertools
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from convlab.arithmetic import arithmetic, totals
from convlab.trace import counting
from convlab.trace.counting import count_rule


class Does(nn.Module):
    "A model that does one thing, a function of its inputs."
    def __init__(self, f):
        super().__init__()
        self.f = f

    def forward(self, *xs): return self.f(*xs)


def rand(*shape): return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def products(f, *xs):
    "The sum of the column, or None if a cell is empty."
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        table = arithmetic(f if isinstance(f, nn.Module) else Does(f), inputs=xs)
    assert table.multiplications.isna().any() == bool(table.uncounted)
    return None if table.uncounted else int(table.multiplications.sum())


def loops(*sizes): return sum(1 for _ in itertools.product(*map(range, sizes)))


# What PyTorch's counter knows

KNOWN = dict(
    mm=(lambda a, b: a @ b, (3, 4), (4, 5)), addmm=(torch.addmm, (5,), (3, 4), (4, 5)),
    bmm=(torch.bmm, (2, 3, 4), (2, 4, 5)), baddbmm=(torch.baddbmm, (2, 3, 5), (2, 3, 4), (2, 4, 5)),
    matmul_4d=(torch.matmul, (2, 3, 4, 5), (3, 5, 6)), linear=(lambda x, w: F.linear(x, w), (2, 7, 4), (5, 4)),
    einsum=(lambda a, b: torch.einsum('bij,bjk->bik', a, b), (2, 3, 4), (2, 4, 5)),
    einsum_three=(lambda a, b, c: torch.einsum('ij,jk,kl->il', a, b, c), (3, 4), (4, 5), (5, 6)),
    tensordot=(lambda a, b: torch.tensordot(a, b, 2), (3, 4, 5), (4, 5, 6)),
    matrix_power=(lambda a: torch.linalg.matrix_power(a, 5), (4, 4)),
    multi_dot=(lambda a, b, c: torch.linalg.multi_dot([a, b, c]), (3, 4), (4, 5), (5, 6)),
    inner=(torch.inner, (3, 4), (5, 4)), conv1d=(lambda x, w: F.conv1d(x, w, stride=2), (1, 4, 11), (6, 4, 3)),
    conv2d=(lambda x, w: F.conv2d(x, w, padding=1, dilation=2), (2, 4, 9, 8), (6, 4, 3, 3)),
    grouped=(lambda x, w: F.conv2d(x, w, groups=2), (1, 4, 9, 9), (6, 2, 3, 3)),
    conv3d=(lambda x, w: F.conv3d(x, w), (1, 2, 5, 5, 5), (3, 2, 3, 3, 3)),
    transposed=(lambda x, w: F.conv_transpose2d(x, w, stride=2), (1, 4, 5, 5), (4, 3, 3, 3)))


@pytest.mark.parametrize('name', KNOWN)
def test_equals_pytorchs_counter(name):
    f, *shapes = KNOWN[name]
    xs = [rand(*s) for s in shapes]
    with FlopCounterMode(display=False) as counter: f(*xs)
    assert products(f, *xs) == counter.get_total_flops()//2 > 0


@pytest.mark.parametrize('layer,shape', [
    (nn.RNN(3, 4), (5, 2, 3)), (nn.GRU(3, 4, 2, bidirectional=True), (5, 2, 3)), (nn.RNNCell(3, 4), (2, 3)),
    (nn.GRUCell(3, 4), (2, 3)), (nn.LSTMCell(3, 4), (2, 3))])
def test_recurrent_layers_equal_pytorchs_counter(layer, shape):
    x = rand(*shape)
    with torch.no_grad(), FlopCounterMode(display=False) as counter: layer(x)
    assert products(layer, x) == counter.get_total_flops()//2 > 0


# What PyTorch's counter takes for nothing

def attention(q, k, v, **kw): return F.scaled_dot_product_attention(q, k, v, **kw)


UNKNOWN = dict(
    mv=(torch.mv, (3, 4), (4,), loops(3, 4)), addmv=(torch.addmv, (3,), (3, 4), (4,), loops(3, 4)),
    dot=(torch.dot, (7,), (7,), loops(7)), addbmm=(torch.addbmm, (3, 5), (2, 3, 4), (2, 4, 5), loops(2, 3, 4, 5)),
    cdist_25=(torch.cdist, (25, 4), (20, 4), loops(25, 20, 4)),
    cdist_26=(torch.cdist, (26, 4), (20, 4), loops(26, 20, 4)),
    cdist_batches=(torch.cdist, (2, 26, 4), (2, 27, 4), loops(2, 26, 27, 4)),
    cdist_p1=(lambda a, b: torch.cdist(a, b, p=1), (26, 4), (20, 4), loops(26, 20, 4)),
    pdist=(torch.pdist, (6, 4), sum(4 for _ in itertools.combinations(range(6), 2))),
    bilinear=(lambda a, b, w: F.bilinear(a, b, w), (2, 3), (2, 4), (5, 3, 4), loops(2, 5, 3, 4)),
    conv_tbc=(lambda x, w, b: torch.conv_tbc(x, w, b, 1), (7, 2, 3), (3, 3, 5), (5,), loops(7, 2, 5, 3, 3)),
    affine_grid=(lambda t: F.affine_grid(t, (2, 1, 4, 5), align_corners=False), (2, 2, 3), loops(2, 4, 5, 2, 3)),
    attention=(attention, (1, 2, 5, 4), (1, 2, 6, 4), (1, 2, 6, 3), loops(2, 5, 6, 4+3)),
    causal=(lambda q, k, v: attention(q, k, v, is_causal=True), *[(1, 2, 5, 4)]*3, loops(2, 5, 5, 8)),
    shared_keys=(lambda q, k, v: attention(q, k, v, enable_gqa=True),
                 (1, 4, 5, 4), (1, 2, 6, 4), (1, 2, 6, 4), loops(4, 5, 6, 8)))


@pytest.mark.parametrize('name', UNKNOWN)
def test_equals_loops(name):
    f, *shapes, expected = UNKNOWN[name]
    assert products(f, *[rand(*s) for s in shapes]) == expected


def dense(t): return t.to_dense() if t.layout != torch.strided else t


def sparse_products(a, b):
    "Pairs of numbers that are stored and meet, by looking at all triples."
    a, b = (dense(t) != 0 if t.layout != torch.strided else torch.ones(t.shape, dtype=bool) for t in (a, b))
    if b.dim() == 1: b = b[:, None]
    return sum(int(a[i, k] and b[k, j]) for i in range(len(a)) for k in range(len(b)) for j in range(b.shape[1]))


SPARSE = torch.tensor([[1., 0, 0, 2], [0, 0, 0, 0], [0, 3, 4, 5]])
OTHER = torch.tensor([[0., 1, 0], [2, 3, 0], [0, 0, 0], [4, 5, 6]])


@pytest.mark.filterwarnings('ignore:Sparse CSR')
@pytest.mark.parametrize('left,right', [
    ('to_sparse', 'clone'), ('to_sparse_csr', 'clone'), ('to_sparse', 'to_sparse'), ('to_sparse_csr', 'to_sparse_csr'),
    ('clone', 'to_sparse'), ('to_sparse', 'a vector'), ('to_sparse_csr', 'a vector')])
def test_sparse_products(left, right):
    a, b = getattr(SPARSE, left)(), OTHER[:, 1].contiguous() if right == 'a vector' else getattr(OTHER, right)()
    expected = sparse_products(a, b)
    assert 0 < expected < loops(3, 4, b.shape[1] if b.dim() > 1 else 1)
    assert products(lambda x: dense(a @ b) + x, rand(1)) == expected


def test_more_sparse_products():
    s, x, y = SPARSE.to_sparse(), rand(4, 3), rand(3, 3)
    assert products(lambda x: torch.sparse.mm(s, x), x) == sparse_products(s, x) == 5*3
    assert products(lambda x: torch.sparse.addmm(y, s, x), x) == 5*3
    assert products(lambda a: torch.bmm(torch.stack([SPARSE, SPARSE]).to_sparse(), a), rand(2, 4, 3)) == 2*5*3
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        mask = SPARSE.to_sparse_csr()
        assert products(lambda a, b: torch.sparse.sampled_addmm(mask, a, b), rand(3, 2), rand(2, 4)) == 5*2


@pytest.mark.parametrize('a,b,ends,expected', [  # ends: of the groups, among rows, what is summed over, or columns
    ((8, 16), (2, 16, 32), [3, 8], loops(8, 16, 32)), ((2, 8, 16), (2, 16, 32), None, loops(2, 8, 16, 32)),
    ((8, 16), (16, 32), [8, 16], loops(8, 16, 32)), ((2, 8, 16), (16, 32), [16, 32], loops(8, 16, 32))])
def test_grouped_products(a, b, ends, expected):
    offs = None if ends is None else torch.tensor(ends, dtype=torch.int32)
    got = products(lambda x: torch._grouped_mm(x, rand(*b).bfloat16(), offs=offs), rand(*a).bfloat16())
    assert got == expected


LSTMS = [{}, dict(bidirectional=True), dict(num_layers=2), dict(proj_size=2), dict(batch_first=True)]


@pytest.mark.parametrize('kw', LSTMS)
def test_lstm(kw):
    "Each matrix of each layer and direction at each step of each sequence."
    lstm = nn.LSTM(3, 4, **kw)
    weights = sum(p.numel() for n, p in lstm.named_parameters() if 'weight' in n)
    x = rand(5, 2, 3)
    assert products(lambda x: lstm(x)[0], x) == 5*2*weights
    packed = nn.utils.rnn.pack_sequence([rand(5, 3), rand(2, 3)])
    assert products(lambda x: lstm(packed._replace(data=x))[0].data, packed.data) == 7*weights


@pytest.mark.parametrize('fast', [False, True])
def test_a_transformer_layer(fast):
    "With the fused kernel and without."
    layer, x = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), rand(2, 5, 16)
    was = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(fast)
    try: assert products(layer, x) == 4*loops(2, 5, 16, 16) + 2*loops(2, 5, 5, 16) + 2*loops(2, 5, 16, 32)
    finally: torch.backends.mha.set_fastpath_enabled(was)


# What adds up no products

FREE = dict(
    relu=F.relu, gelu=F.gelu, softmax=lambda x: x.softmax(1),
    batch_norm=lambda x: F.batch_norm(x, None, None, training=True),
    layer_norm=lambda x: F.layer_norm(x, x.shape[1:]), group_norm=lambda x: F.group_norm(x, 2),
    instance_norm=F.instance_norm, rms_norm=lambda x: F.rms_norm(x, x.shape[1:]),
    max_pool=lambda x: F.max_pool2d(x, 2), avg_pool=lambda x: F.avg_pool2d(x, 2),
    adaptive=lambda x: F.adaptive_avg_pool2d(x, 3), adaptive_max=lambda x: F.adaptive_max_pool2d(x, 3),
    fractional=lambda x: F.fractional_max_pool2d(x, 2, output_size=3), lp_pool=lambda x: F.lp_pool2d(x, 2, 2),
    nearest=lambda x: F.interpolate(x, scale_factor=2),
    bicubic=lambda x: F.interpolate(x, scale_factor=2, mode='bicubic'),
    antialias=lambda x: F.interpolate(x, 5, mode='bilinear', antialias=True),
    grid_sample=lambda x: F.grid_sample(x, torch.zeros(1, 3, 3, 2), align_corners=False),
    pad=lambda x: F.pad(x, (1, 2)), reflect=lambda x: F.pad(x, (1, 1, 1, 1), 'reflect'),
    circular=lambda x: F.pad(x, (1, 1, 1, 1), 'circular'), unfold=lambda x: F.unfold(x, 3),
    fold=lambda x: F.fold(F.unfold(x, 3), (8, 8), 3), mean=lambda x: x.mean((2, 3)), std=lambda x: x.std((2, 3)),
    norm=lambda x: x.norm(dim=1), logsumexp=lambda x: x.logsumexp(1), cumsum=lambda x: x.cumsum(1),
    sort=lambda x: x.sort(1)[0], topk=lambda x: x.topk(2, 1)[0], median=lambda x: x.median(1)[0],
    kthvalue=lambda x: x.kthvalue(2, 1)[0], mode=lambda x: x.mode(1)[0], quantile=lambda x: x.quantile(.5, 1),
    where=lambda x: torch.where(x > 0, x, 0*x), gather=lambda x: x.gather(1, torch.zeros_like(x, dtype=torch.long)),
    index=lambda x: x[:, [0, 1]], cat=lambda x: torch.cat([x, x]),
    scatter=lambda x: torch.zeros_like(x).scatter(1, torch.zeros_like(x, dtype=torch.long), x),
    index_add=lambda x: x.index_add(1, torch.tensor([0]), x[:, :1]),
    outer=lambda x: torch.outer(x[0, 0, 0], x[0, 0, 1]), addr=lambda x: torch.addr(x[0, 0], x[0, 0, 0], x[0, 0, 1]),
    kron=lambda x: torch.kron(x[0, 0], x[0, 1]), cross=lambda x: torch.linalg.cross(x[..., :3], x[..., 1:4]),
    trace=lambda x: x[0, 0].trace(), tril=torch.tril, diag=lambda x: torch.diag_embed(x), flip=lambda x: x.flip(1),
    roll=lambda x: x.roll(1, 1), repeat=lambda x: x.repeat(2, 1, 1, 1), shuffle=lambda x: F.pixel_shuffle(x, 2),
    glu=lambda x: F.glu(x, 1), prelu=lambda x: F.prelu(x, torch.ones(1)), rrelu=F.rrelu,
    dropout=lambda x: F.dropout(x), embedding=lambda x: F.embedding((x*3).long(), torch.ones(4, 5)),
    one_hot=lambda x: F.one_hot((x*3).long(), 4), mse=lambda x: F.mse_loss(x, x),
    bce=lambda x: F.binary_cross_entropy(x, x),
    cross_entropy=lambda x: F.cross_entropy(x, torch.zeros(1, 8, 8).long()),
    bernoulli=lambda x: x*torch.bernoulli(x), multinomial=lambda x: x[0, 0].multinomial(2),
    unique=lambda x: x.unique(), histc=lambda x: x.histc(4),
    searchsorted=lambda x: torch.searchsorted(x[0, 0], x[0, 1]), renorm=lambda x: x.renorm(2, 0, 1.),
    new_zeros=lambda x: x.new_zeros(3)+x[0, 0, 0, :3], masked_select=lambda x: x[x > .5],
    nonzero=lambda x: x.nonzero(), complex=lambda x: torch.complex(x, x).abs(),
    fill=lambda x: x.clone().fill_diagonal_(0) if x.dim() == 2 else x.clone().zero_())


@pytest.mark.parametrize('name', FREE)
def test_free(name): assert products(FREE[name], rand(1, 4, 8, 8)) == 0


# What nobody knows

NOBODY = dict(
    inv=lambda x: torch.linalg.inv(x), solve=lambda x: torch.linalg.solve(x, x),
    svd=lambda x: torch.linalg.svd(x)[1], qr=lambda x: torch.linalg.qr(x)[0], det=lambda x: torch.linalg.det(x),
    eigh=lambda x: torch.linalg.eigvalsh(x), exp=lambda x: torch.linalg.matrix_exp(x),
    fft=lambda x: torch.fft.fft2(x).abs(), rfft=lambda x: torch.fft.rfft(x).abs(),
    stft=lambda x: torch.stft(x[0], 4, return_complex=True).abs(), cholesky=lambda x: torch.linalg.cholesky_ex(x)[0],
    lu=lambda x: torch.linalg.lu_factor(x)[0], triangular=lambda x: torch.linalg.solve_triangular(x, x, upper=True),
    householder=lambda x: torch.linalg.householder_product(x, x[0]))


@pytest.mark.parametrize('name', NOBODY)
def test_an_empty_cell(name): assert products(NOBODY[name], rand(8, 8) + 8*torch.eye(8)) is None


@pytest.mark.parametrize('name', NOBODY)
def test_an_empty_cell_on_constants_too(name):
    matrix = rand(8, 8) + 8*torch.eye(8)
    assert products(lambda x: x + NOBODY[name](matrix).sum().real, rand(8, 8)) is None


@pytest.mark.parametrize('f,want', [
    (lambda m: m @ m, 512), (lambda m: m.sum(), 0), (lambda m: torch.arange(8.).outer(m[0]), 0), (lambda m: m[torch.tensor([1, 2])].sort()[0], 0),
    (lambda m: F.conv1d(m[None], m[:3, :, None]), 3*8*8), (lambda m: F.interpolate(m[None, None], scale_factor=2.), 0)])
def test_what_is_known_of_constants_is_counted(f, want): assert products(lambda x: x + f(torch.eye(8)).sum(), rand(8, 8)) == want


def test_zeros_among_the_weights_are_counted():
    class Masked(nn.Conv2d):
        def forward(self, x): return F.conv2d(x, self.weight*torch.tensor([1., 1., 0.]), self.bias)
    assert products(Masked(2, 4, 3), rand(1, 2, 8, 8)) == products(nn.Conv2d(2, 4, 3), rand(1, 2, 8, 8)) == 36*4*18


@torch.library.custom_op('convlab_counting::twice', mutates_args=())
def twice(x: torch.Tensor) -> torch.Tensor: return x*2


@torch.library.custom_op('convlab_counting::ones', mutates_args=())
def ones(n: int) -> torch.Tensor: return torch.ones(n)


@pytest.mark.filterwarnings('ignore')
def test_an_operation_of_ones_own_is_not_taken_for_free():
    assert products(twice, rand(3, 3)) is None
    assert products(lambda x: x @ ones(3), rand(3, 3)) in (None, 9)


def test_a_quantized_lstm_is_not_taken_for_free():
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        net = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.LSTM(3, 4)).eval(), {nn.LSTM}, dtype=torch.qint8)
    assert products(lambda x: net[0](x)[0], rand(5, 1, 3)) is None


# A rule of the user's own

@pytest.fixture
def rules():
    before = dict(counting._given)
    yield
    counting._given.clear()
    counting._given.update(before)


@pytest.mark.filterwarnings('ignore:convlab has no rule')
@pytest.mark.parametrize('op', [
    torch.ops.convlab_counting.twice, 'convlab_counting::twice', torch.ops.convlab_counting.twice.default])
def test_a_rule_of_ones_own(rules, op):
    @count_rule(op)
    def each(x, out): return 2*x.numel() + out.shape[0]
    assert products(twice, rand(3, 4)) == 27


def test_a_rule_of_ones_own_goes_first(rules):
    count_rule('aten::mm')(lambda a, b, out: 7)
    assert products(torch.mm, rand(2, 3), rand(3, 4)) == 7


@pytest.mark.parametrize('value,text', [
    (None, 'returned None, and not a whole number'), (-1, 'returned -1'), (2.5, 'returned 2.5'),
    (True, 'returned True'),
    (ZeroDivisionError('no luck'), 'raised ZeroDivisionError: no luck')])
def test_a_rule_that_fails_is_called_by_its_name(rules, value, text):
    @count_rule('aten::mm')
    def my_rule(a, b, out):
        if isinstance(value, Exception): raise value
        return value
    with pytest.warns(UserWarning) as said: table = arithmetic(Does(torch.mm), inputs=(rand(2, 3), rand(3, 4)))
    message = str(said[0].message)
    assert f"your count_rule 'my_rule' for aten::mm {text}" in message and 'fault of convlab' not in message
    assert table.uncounted == ['aten::mm'] and totals(table)['multiplications'] == 0


@pytest.mark.parametrize('op', ['mm', 'a::b::c', 3])
def test_a_rule_for_nothing(op):
    with pytest.raises(ValueError, match='op must be an operation of torch.ops or a name such as'): count_rule(op)
