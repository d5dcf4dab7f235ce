"convlab.color: against PyTorch, Pillow, matplotlib and torchvision; bad input; figures."

import matplotlib
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

matplotlib.use('Agg')
import matplotlib.pyplot as plt

from convlab.color import (apply_color_kernel, hsv_to_rgb, kernel_pictures, map_color_kernel, rgb_to_hsv,
                           show_channels, show_kernels, to_gray)


def every_color():  # all 256**3 colors, as 256 pictures [3,256,256]
    g, b = torch.meshgrid(torch.arange(256).byte(), torch.arange(256).byte(), indexing='ij')
    for r in range(256): yield torch.stack([torch.full_like(g, r), g, b])


def pil(im): return Image.fromarray(im.permute(1, 2, 0).numpy())


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 5), st.integers(3, 9), st.integers(3, 9), st.floats(-3, 3), st.integers(0, 2**31))
def test_map_color_kernel_is_conv2d(ch, h, w, b, seed):
    g = torch.Generator().manual_seed(seed)
    im, kernel = torch.randn(ch, h, w, generator=g).double(), torch.randn(ch, 3, 3, generator=g).double()
    want = F.conv2d(im[None], kernel[None], torch.tensor([b], dtype=torch.float64))[0, 0]
    got = map_color_kernel(im, kernel, b)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
    row, col = 1+seed % (h-2), 1+seed % (w-2)
    one = apply_color_kernel(im, row, col, kernel, b)
    torch.testing.assert_close(one, got[row-1, col-1], rtol=1e-12, atol=1e-12)


def test_gradients_reach_kernel_and_bias():
    im, kernel, b = torch.rand(3, 6, 6), torch.rand(3, 3, 3).requires_grad_(), torch.zeros(()).requires_grad_()
    map_color_kernel(im, kernel, b).sum().backward()
    assert b.grad == 16  # the bias is added once at each of 4 by 4 places
    torch.testing.assert_close(kernel.grad[1, 0, 0], im[1, :4, :4].sum())


def test_to_gray_is_pillows_for_every_color():
    for im in every_color(): assert np.array_equal(to_gray(im).numpy(), np.asarray(pil(im).convert('L')))


def test_to_gray_of_floats():
    from convlab import compat  # lets a CPU build of PyTorch import torchvision
    from torchvision.transforms.functional import rgb_to_grayscale
    im = torch.rand(3, 20, 30, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(to_gray(im), rgb_to_grayscale(im)[0], atol=2e-4, rtol=0)  # its red is .2989
    assert to_gray(im).dtype == torch.float32
    torch.testing.assert_close(to_gray(torch.ones(3, 2, 2)), torch.ones(2, 2))
    assert torch.equal(to_gray(torch.stack([im, 1-im]))[1], to_gray(1-im))


def test_hsv_and_back_is_exact_for_every_color():
    for im in every_color(): assert torch.equal((hsv_to_rgb(rgb_to_hsv(im))*255).round().byte(), im)


@pytest.mark.parametrize('rgb,hsv', [
    ((255, 0, 0), (0, 1, 1)), ((0, 255, 0), (1/3, 1, 1)), ((0, 0, 255), (2/3, 1, 1)),
    ((0, 0, 0), (0, 0, 0)), ((255, 255, 255), (0, 0, 1)), ((128, 64, 64), (0, .5, 128/255))])
def test_known_colors(rgb, hsv):
    im, want = torch.tensor(rgb).byte()[:, None, None], torch.tensor(hsv, dtype=torch.float64)
    torch.testing.assert_close(rgb_to_hsv(im).flatten(), want, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(rgb_to_hsv(im.float()/255).flatten(), want.float(), rtol=1e-5, atol=1e-6)


def test_conversions_leave_their_input_alone():
    im = torch.rand(3, 4, 5, dtype=torch.float64)
    before = im.clone()
    rgb_to_hsv(im), hsv_to_rgb(im), to_gray(im)
    assert torch.equal(im, before)
    assert rgb_to_hsv(torch.zeros(3, 0, 4)).shape == (3, 0, 4)


def test_kernel_pictures():
    w = torch.zeros(3, 3, 5, 5)
    w[0, 2, 1, 4], w[1, 0, 0, 0], w[1, 1, 2, 2] = 4., -2., 1.
    ims = kernel_pictures(w.requires_grad_())
    assert ims.shape == (3, 5, 5, 3) and not ims.requires_grad
    assert ims[0, 1, 4].tolist() == [.5, .5, 1.] and ims[1, 0, 0].tolist() == [0., .5, .5]
    assert ims[1, 2, 2].tolist() == [.5, .75, .5] and (ims[2] == .5).all()  # a kernel of zeros is gray, not NaN


def test_show_kernels_draws_each_kernel_once():
    axs = show_kernels(torch.randn(11, 3, 3, 3), ncols=4)
    assert [len(ax.images) for ax in axs] == [1]*11 + [0] and [ax.axison for ax in axs] == [True]*11 + [False]
    plt.close(axs[0].figure)


@pytest.mark.parametrize('im,top', [(torch.ones(3, 4, 6).byte(), 255), (torch.rand(3, 4, 6), 1),
                                    (torch.rand(3, 4, 6)*255, 255)])
def test_show_channels(im, top):
    shown = show_channels(im, names=('a', 'b', 'c'))
    assert [ax.get_title() for ax in shown] == ['a', 'b', 'c']
    for ax, channel in zip(shown, im):
        assert np.array_equal(ax.images[0].get_array(), channel.numpy())
        assert ax.images[0].get_clim() == (0, top)
    plt.close(shown[0].figure)


im3, k3 = torch.rand(3, 8, 8), torch.rand(3, 3, 3)
@pytest.mark.parametrize('f,match', [
    (lambda: map_color_kernel(im3, k3[:2]), r'kernel must be a tensor \[3,3,3\]; got shape \[2, 3, 3\]'),
    (lambda: map_color_kernel(im3[0], k3), r'im must be a tensor \[ch_in,H,W\]; got shape \[8, 8\]'),
    (lambda: map_color_kernel(im3, k3[0]), r'kernel must be a tensor \[3,3,3\]; got shape \[3, 3\]'),
    (lambda: map_color_kernel(im3, torch.rand(3, 5, 5)), r'kernel must be a tensor \[3,3,3\]; got shape \[3, 5, 5\]'),
    (lambda: map_color_kernel(im3[:, :2], k3), r'the first window of im must be a tensor \[3,3\]; got shape \[2, 3\]'),
    (lambda: apply_color_kernel(im3, 1, 1, k3[:1]), r'got shape \[1, 3, 3\]'),
    (lambda: to_gray(im3[:2]), r'im must be a tensor \[3,H,W\] or \[N,3,H,W\]; got shape \[2, 8, 8\]'),
    (lambda: to_gray(im3[0]), r'im must be a tensor \[3,H,W\] or \[N,3,H,W\]; got shape \[8, 8\]'),
    (lambda: rgb_to_hsv(im3.permute(1, 2, 0)), r'im must be a tensor \[3,H,W\]; got shape \[8, 8, 3\]'),
    (lambda: rgb_to_hsv(im3*255), 'im must be bytes, or floats from 0 to 1; got'),
    (lambda: hsv_to_rgb(im3-1), 'im must be bytes, or floats from 0 to 1; got'),
    (lambda: rgb_to_hsv(im3*float('nan')), 'im must be bytes, or floats from 0 to 1; got nan'),
    (lambda: show_channels(im3[:2]), r'im must be a tensor \[3,H,W\]'),
    (lambda: kernel_pictures(k3), r'weight must be a tensor \[n,3,ks,ks\]; got shape \[3, 3, 3\]'),
    (lambda: show_kernels(torch.rand(4, 1, 3, 3)), r'weight must be a tensor \[n,3,ks,ks\]; got shape \[4, 1, 3, 3\]'),
])
def test_bad_input_is_named(f, match):
    with pytest.raises(ValueError, match=match): f()


def test_what_is_no_picture_is_named():
    for f in (lambda: map_color_kernel('bear', k3), lambda: to_gray([1]), lambda: show_channels('bear')):
        with pytest.raises(TypeError, match='im must be a tensor .* got (str|list)'): f()


@pytest.mark.parametrize('row,col', [(0, 1), (7, 1), (1, 0), (1, 7)])
def test_a_window_outside_the_picture(row, col):
    with pytest.raises(ValueError, match=rf'the window of im around row {row}, column {col} must be a tensor \[3,3\]'): apply_color_kernel(im3, row, col, k3)
