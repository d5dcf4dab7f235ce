"""The first layer's kernels of networks that tell 3s from 7s, before and after training, from many seeds; and what those networks score.

One row for each kernel; `accuracy` is that of its network after training. It takes one core two minutes:
`python experiments/first_kernels.py` writes `convlab/static/first_kernels.csv`, which lesson `03_first_cnn` reads."""
from functools import lru_cache

from common import epochs, kernel_rows, load_mnist, mnist_path, swept, torch, unfold, write
from convlab.models import simple_cnn

scales = {'normalized': (.1307, .3081), '0 to 1': (0., 1.)}  # of the pixels: what is taken off, what they are divided by


@lru_cache
def threes_and_sevens():
    x, y, xv, yv = load_mnist(mnist_path(sample=True))
    return x[:, None].float()/255, (y == y.max()).long(), xv[:, None].float()/255, (yv == yv.max()).long()


def run(seed, pixels):
    (x, y, xv, yv), (mean, std) = threes_and_sevens(), scales[pixels]
    torch.manual_seed(seed)
    net = simple_cnn((1, 4, 8, 16, 32, 2), ks0=3)
    before = net[0][0].weight.detach().clone()
    epochs(net, (x-mean)/std, y, 2, .01)
    with torch.no_grad(): accuracy = (net((xv-mean)/std).argmax(1) == yv).float().mean()
    return dict(accuracy=accuracy, rows=kernel_rows(before, net[0][0].weight.detach()))


if __name__ == '__main__':
    runs = swept(run, (dict(pixels=list(scales)), 20))
    kernels = unfold(runs, 'pixels', 'seed', 'accuracy')
    write('first_kernels', kernels[['pixels', 'seed', 'kernel', 'training', 'accuracy', *(f'w{i}' for i in range(9))]], '%.4f')
    print(runs.groupby('pixels').accuracy.describe())
