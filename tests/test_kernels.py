"Kernels against PyTorch, and what they refuse."
import io

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from PIL import Image

from convlab.kernels import apply_kernel, edge_kernels, grey_image, map_kernel, show_apply, show_maps, show_pixels, top_edge


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


@pytest.mark.parametrize('im,kernel,message', [
    (torch.zeros(3, 28, 28), top_edge, r'im must be a 2-D tensor \[H,W\]; got \(3, 28, 28\)'),
    ([[1, 2], [3, 4]], top_edge, 'im must be a 2-D tensor .* got list'),
    (torch.zeros(2, 9), top_edge, r'im must be at least 3 by 3, .* got \(2, 9\)'),
    (torch.zeros(9, 9), torch.zeros(5, 5), r'kernel must be 3 by 3; got \(5, 5\)'),
    (torch.zeros(9, 9), edge_kernels, r'kernel must be a 2-D tensor'),
])
def test_refused(im, kernel, message):
    with pytest.raises(ValueError, match=message): map_kernel(im, kernel)
    with pytest.raises(ValueError, match=message): apply_kernel(im, 1, 1, kernel)


@pytest.mark.parametrize('row,col,message', [(0, 5, 'row must be 1 to 7'), (8, 5, 'row must be 1 to 7'), (-1, 5, 'got -1'),
                                             (5, 0, 'col must be 1 to 8'), (5, 9, 'col must be 1 to 8')])
def test_border(row, col, message):
    with pytest.raises(IndexError, match=message): apply_kernel(torch.zeros(9, 10), row, col, top_edge)


def test_pictures():
    im = torch.arange(30.).reshape(5, 6)
    ax = show_pixels(im, row0=4)
    assert [t.get_text() for t in ax.texts] == [str(i) for i in range(30)]
    assert [t.get_text() for t in ax.get_yticklabels()] == ['4', '5', '6', '7', '8']
    assert show_apply(im, 2, 2, top_edge).axes[2].get_title() == '= products, sum 36'
    assert len(show_maps([im, -im], ['a', 'b']).axes) == 3
    show_maps([torch.zeros(3, 3)])


def photo(size, exif=None):
    file = io.BytesIO()
    im = Image.new('RGB', size, 'white')
    im.putpixel((0, 0), (0, 0, 0))
    im.save(file, 'png', **({'exif': exif} if exif else {}))
    return file.getvalue()


def test_grey_image(tmp_path):
    data = photo((30, 20))
    (tmp_path/'a.png').write_bytes(data)
    for src in (data, memoryview(data), io.BytesIO(data), tmp_path/'a.png', str(tmp_path/'a.png')):
        im = grey_image(src)
        assert im.shape == (20, 30) and im[0, 0] == 0 and im[5, 5] == 255 and im.dtype == torch.float32
    assert grey_image(photo((1000, 500)), size=100).shape == (50, 100)


def test_grey_image_is_upright():
    exif = Image.Exif()
    exif[0x0112] = 6 # the camera was held sideways
    assert grey_image(photo((30, 20), exif)).shape == (30, 20)


def test_grey_image_refuses(tmp_path):
    with pytest.raises(ValueError, match='not a picture'): grey_image(b'text')
    with pytest.raises(FileNotFoundError): grey_image(tmp_path/'none.png')
