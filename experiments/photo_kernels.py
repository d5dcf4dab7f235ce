"""Photographs: do first layers become edge detectors there as they do on painted digits?

The network and the training of `color_digits.py`, on 20,000 photographs of CIFAR-10 (32 by 32 pixels, ten kinds of
things), five seeds. The folder that CONVLAB_DATA names must hold `cifar10.tgz`, CIFAR-10 in fast.ai's folders. It takes
one core three minutes: `python experiments/photo_kernels.py` writes `convlab/static/photo_kernels.csv`, which lesson
`06_color` reads: the first layers before and after training, one row for each kernel (3 slices of 5 by 5), with the
network's accuracy."""
import os
import tarfile
from functools import lru_cache
from pathlib import Path

import numpy as np
from common import epochs, kernel_rows, swept, torch, unfold, write
from convlab.models import simple_cnn
from PIL import Image


@lru_cache
def photographs():
    "`train` and `test`: bytes `[N,3,32,32]` and labels."
    found = {'train': [], 'test': []}
    with tarfile.open(Path(os.environ['CONVLAB_DATA'])/'cifar10.tgz') as archive:
        for member in archive:
            if not member.name.endswith('.jpg'): continue
            part, label, _ = Path(member.name).parts[1:]
            found[part].append((label, np.array(Image.open(archive.extractfile(member)).convert('RGB'))))
    kinds = sorted({label for label, _ in found['train']})
    return {part: (torch.from_numpy(np.stack([im for _, im in ims])).permute(0, 3, 1, 2),
                   torch.tensor([kinds.index(label) for label, _ in ims])) for part, ims in found.items()}


@lru_cache
def normalized():
    x, y = photographs()['train']
    few = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:20_000]
    xv, yv = photographs()['test']
    mean, std = [f(x[few].float(), (0, 2, 3), keepdim=True) for f in (torch.mean, torch.std)]
    return (x[few]-mean)/std, y[few], (xv-mean)/std, yv


def run(seed, pictures):
    x, y, xv, yv = normalized()
    torch.manual_seed(seed)
    net = simple_cnn((3, 8, 16, 32, 64, 10))
    before = net[0][0].weight.detach().clone()
    epochs(net, x, y, 3, .005)
    with torch.no_grad(): accuracy = torch.cat([net(part).argmax(1) for part in xv.split(1000)]).eq(yv).float().mean()
    return dict(accuracy=accuracy, rows=kernel_rows(before, net[0][0].weight.detach()))


if __name__ == '__main__':
    runs = swept(run, (dict(pictures=['photographs']), 5))
    write('photo_kernels', unfold(runs, 'pictures', 'seed', 'accuracy'), '%.3f')
    print(runs.accuracy.describe())
