"Kernels against PyTorch, and what they refuse."
import io
import json

import pytest
import torch
import torch.nn.functional as F
from conftest import root
from hypothesis import given, settings, strategies as st
from PIL import Image

from convlab.draw.plotting import show_grids, show_maps, show_pixels
from convlab.draw.windows import show_apply
from convlab.kernels import apply_kernel, edge_kernels, map_kernel, top_edge
from convlab.study.data import gray_image, mnist_path


@settings(max_examples=100, deadline=None)
@given(st.integers(3, 20), st.integers(3, 20), st.integers(0, 10_000))
def test_map_is_conv2d(h, w, seed):
    g = torch.Generator().manual_seed(seed)
    im, kernel = torch.randn(h, w, generator=g, dtype=torch.float64), torch.randn(3, 3, generator=g, dtype=torch.float64)
    maps = map_kernel(im, kernel)
    assert torch.allclose(maps, F.conv2d(im[None, None], kernel[None, None])[0, 0], atol=1e-12)
    i, j = h//2, w//2
    assert torch.allclose(maps[i-1, j-1], apply_kernel(im, i, j, kernel), atol=1e-12)


def test_bytes_do_not_wrap_round():
    im = torch.full((3, 3), 255, dtype=torch.uint8)
    assert map_kernel(im, torch.ones(3, 3)).item() == 9*255
    assert apply_kernel(im, 1, 1, -torch.ones(3, 3)).item() == -9*255


@pytest.mark.parametrize('im,kernel,error,message', [
    (torch.zeros(3, 28, 28), top_edge, ValueError, r'im must be a tensor \[H,W\]; got shape \[3, 28, 28\]'),
    ([[1, 2], [3, 4]], top_edge, TypeError, 'im must be a tensor .* got list'),
    (torch.zeros(9, 9), torch.zeros(5, 5), ValueError, r'kernel must be a tensor \[3,3\]; got shape \[5, 5\]'),
    (torch.zeros(9, 9), edge_kernels, ValueError, 'kernel must be a tensor'),
])
def test_refused(im, kernel, error, message):
    with pytest.raises(error, match=message): map_kernel(im, kernel)
    with pytest.raises(error, match=message): apply_kernel(im, 1, 1, kernel)


@pytest.mark.parametrize('size', [(2, 9), (9, 2)])
def test_there_is_no_window(size):
    with pytest.raises(ValueError, match=r'the first window of im must be a tensor \[3,3\]'): map_kernel(torch.zeros(size), top_edge)
    with pytest.raises(ValueError, match=r'the window of im around row 1, column 1 must be a tensor \[3,3\]'):
        apply_kernel(torch.zeros(size), 1, 1, top_edge)


@pytest.mark.parametrize('row,col', [(0, 5), (8, 5), (-1, 5), (5, 0), (5, 9), (99, 5)])
def test_border(row, col):
    im = torch.zeros(9, 10)
    with pytest.raises(ValueError, match=rf'the window of im around row {row}, column {col} must be a tensor \[3,3\]'):
        apply_kernel(im, row, col, top_edge)
    with pytest.raises(ValueError, match=r'(row|col) must be a whole number from 1 to \d'): show_apply(im, row, col, top_edge)


def test_numpy_numbers_are_places():
    import numpy as np
    im = torch.randn(5, 5)
    assert apply_kernel(im, np.int64(2), torch.tensor(3), top_edge) == apply_kernel(im, 2, 3, top_edge)


def test_the_kernel_is_learned_from_other_starts_too():
    "The lesson's own cell, from seeds that it does not show."
    cells = json.loads((root/'nbs'/'01_kernels.ipynb').read_text(encoding='utf-8'))['cells']
    source = ''.join(next(c['source'] for c in cells if c['id'] == 'd62ef31f'))
    files = sorted((mnist_path(sample=True)/'train'/'3').iterdir())[:20]
    threes = torch.stack([gray_image(f) for f in files])
    for seed in (1, 2, 3):
        names = dict(torch=torch, F=F, top_edge=top_edge, threes=threes, set_seed=lambda _: torch.manual_seed(seed))
        exec(source, names)
        assert (names['kernel'][0, 0]-top_edge).abs().max() < .05


# Drawing

def clims(axs): return [(ax.collections or ax.images)[0].get_clim() for ax in axs]


def test_pixels():
    im = torch.arange(30.).reshape(5, 6)
    ax = show_pixels(im, row0=4)
    assert [t.get_text() for t in ax.texts] == [str(i) for i in range(30)]
    assert [t.get_text() for t in ax.get_yticklabels()] == ['4', '5', '6', '7', '8']
    assert clims([ax]) == [(0, 1.25*29)] and clims([show_pixels(im-20)]) == [(-20, 20)]
    assert clims([show_pixels(im, lim=255, signed=True)]) == [(-255, 255)]


def test_zero_is_white_in_every_panel():
    axs = show_apply(torch.arange(30.).reshape(5, 6), 2, 2, top_edge)
    assert [ax.get_title() for ax in axs] == ['window', '× kernel', '= products, sum 36']
    for ax in axs:
        mesh = ax.collections[0]
        assert mesh.cmap(mesh.norm(0.))[:3] == pytest.approx((1, 1, 1), abs=.01)
    assert clims(show_grids([torch.ones(2, 2), torch.full((2, 3), 5.)], lim=10)) == [(0, 12.5)]*2


def test_maps():
    im = torch.arange(30.).reshape(5, 6)
    assert clims(show_maps([im, -im], ['a', 'b'])) == [(-29, 29)]*2
    assert clims(show_maps([im, 2*im])) == [(0, 58)]*2
    strong = im*10
    strong[0, 0] = 10_000 # one bright place does not decide the scale
    axs = show_maps([-im, strong], shared=False)
    (lo, hi), (lo2, hi2) = clims(axs)
    assert lo == -hi and 28 < hi <= 29 and lo2 == 0 and 290 <= hi2 < 10_000
    show_maps([torch.zeros(3, 3)])
    show_maps([torch.zeros(3, 3)], shared=False)
    with pytest.raises(ValueError, match=r'maps must be a tensor \[H,W\]'): show_maps(torch.zeros(2, 3, 4, 4))


def photo(size, exif=None):
    file = io.BytesIO()
    im = Image.new('RGB', size, 'white')
    im.putpixel((0, 0), (0, 0, 0))
    im.save(file, 'png', **({'exif': exif} if exif else {}))
    return file.getvalue()


def test_gray_image(tmp_path):
    data = photo((30, 20))
    (tmp_path/'a.png').write_bytes(data)
    for src in (data, memoryview(data), io.BytesIO(data), tmp_path/'a.png', str(tmp_path/'a.png')):
        im = gray_image(src)
        assert im.shape == (20, 30) and im[0, 0] == 0 and im[5, 5] == 255 and im.dtype == torch.float32
    assert gray_image(photo((1000, 500)), size=100).shape == (50, 100)


def test_gray_image_is_upright():
    exif = Image.Exif()
    exif[0x0112] = 6 # the camera was held sideways
    assert gray_image(photo((30, 20), exif)).shape == (30, 20)


def test_gray_image_of_sixteen_bits():
    import numpy as np
    deep, file = np.arange(0, 60_000, 1000, dtype=np.uint16).reshape(6, 10), io.BytesIO()
    Image.fromarray(deep).save(file, 'png')
    assert (gray_image(file.getvalue()) - torch.tensor(deep/257)).abs().max() <= .51


def test_gray_image_refuses(tmp_path):
    with pytest.raises(ValueError, match='src must be a picture'): gray_image(b'text')
    with pytest.raises(FileNotFoundError): gray_image(tmp_path/'none.png')
