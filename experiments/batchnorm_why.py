"""Why does batch normalization help? A smoother loss, and noise: two experiments over five seeds. (Steady inputs have a study of their own.)

Writes `convlab/static/batchnorm_why.csv`, one row for each run, which lesson `09_batchnorm` reads. About eight minutes on one core: `python experiments/batchnorm_why.py`.

smooth   forty steps of plain gradient descent: how much the loss and its gradient change along the gradient, and the loss on digits not seen.
noise    5,000 digits, fifteen epochs: accuracy on them and on others, with statistics from groups of 16, 64 or all 256 digits of a batch, and without any.
"""
import csv
import itertools
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from convlab.data import load_mnist, mnist_path
from convlab.models import simple_cnn

table = Path(__file__).resolve().parent.parent/'convlab'/'static'/'batchnorm_why.csv'
rows = []


def groups(n):
    "Batch normalization with the statistics of `n` digits at a time, whatever the size of the batch."
    class Grouped(nn.BatchNorm2d):
        def forward(self, x): return torch.cat([super(Grouped, self).forward(o) for o in x.split(n)]) if self.training else super().forward(x)
    return Grouped


def kaiming(net):
    "All networks start from Kaiming's weights, with which the one without normalization learns too."
    for m in net.modules():
        if isinstance(m, nn.Conv2d): nn.init.kaiming_normal_(m.weight), nn.init.zeros_(m.bias)
    return net


def add(*row):
    rows.append(row)
    print(*row, flush=True)


def batches(x, y, bs, n, seed):
    gen = torch.Generator().manual_seed(seed)
    return [(x[i], y[i]) for i in itertools.islice(itertools.cycle(torch.randperm(len(x), generator=gen)[:len(x)//bs*bs].view(-1, bs)), n)]


def smooth(x, y, xv, yv, seed, lr=.1):
    def grads(net, params, xb, yb):
        loss = F.cross_entropy(torch.func.functional_call(net, params, xb), yb)
        return loss.item(), dict(zip(params, torch.autograd.grad(loss, list(params.values()))))
    def walk(params, grad, step): return {k: (p-step*grad[k]).detach().requires_grad_() for k, p in params.items()}
    for name, norm in {'none': None, 'batch norm': nn.BatchNorm2d}.items():
        torch.manual_seed(seed)
        net = kaiming(simple_cnn(norm=norm))
        params, found = dict(net.named_parameters()), []
        for i, (xb, yb) in enumerate(batches(x, y, 256, 40, seed)):
            loss, grad = grads(net, params, xb, yb)
            if i % 4 == 0:
                tries = [grads(net, walk(params, grad, k*lr), xb, yb) for k in (.5, 1, 2, 4)]
                far = max(sum((grad[k]-g[k]).square().sum() for k in grad).sqrt() for _, g in tries)
                found.append((max(o for o, _ in tries) - min(o for o, _ in tries), far))
            params = walk(params, grad, lr)
        variation, change = torch.tensor(found).median(0).values
        with torch.no_grad(): test = F.cross_entropy(torch.func.functional_call(net.eval(), params, xv), yv)
        for what, v in dict(variation=variation, change=change, loss=loss, test=test).items(): add('smooth', name, seed, what, f'{v:.4f}')


def noise(x, y, xv, yv, seed, lr=.01, epochs=15, bs=256):
    for name, norm in [('none', None), *[(f'groups of {n}', groups(n)) for n in (16, 64, 256)]]:
        torch.manual_seed(seed)
        net, steps = simple_cnn(norm=norm), epochs*(len(x)//bs)
        opt = torch.optim.AdamW(net.parameters(), lr)
        sched = torch.optim.lr_scheduler.OneCycleLR(opt, lr, steps)
        for _ in range(epochs):
            for i in torch.randperm(len(x))[:len(x)//bs*bs].view(-1, bs):
                F.cross_entropy(net(x[i]), y[i]).backward()
                opt.step()
                opt.zero_grad()
                sched.step()
        net.eval()
        with torch.no_grad():
            for where, (a, b) in dict(train=(x, y), valid=(xv, yv)).items():
                out = net(a)
                add('noise', name, seed, f'{where} loss', f'{F.cross_entropy(out, b):.4f}')
                add('noise', name, seed, f'{where} accuracy', f'{(out.argmax(1) == b).float().mean():.4f}')


def main():
    torch.set_num_threads(1)
    x, y, xv, yv = load_mnist(mnist_path())
    x, xv = [(t[:, None].float()/255 - .1307)/.3081 for t in (x, xv)]
    for seed in range(5):
        smooth(x, y, xv, yv, seed)
        few = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:5000]
        noise(x[few], y[few], xv, yv, seed)
        with table.open('w', newline='') as f:
            csv.writer(f, lineterminator='\n').writerows([('experiment', 'network', 'seed', 'what', 'value'), *rows])


if __name__ == '__main__': main()
