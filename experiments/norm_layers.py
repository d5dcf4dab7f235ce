"""Batch, layer, instance, group, RMS or weight normalization, batch renormalization, or none: which learns what, at which rate and batch size?

The ten-digit network with the norm between convolution and ReLU and none on the scores, from PyTorch's own start, Adam without weight decay, 1cycle,
five seeds; a seed gives all norms the same weights and the same digits in the same order. One row a run: accuracy in eval mode on 2,048 validation
digits (choose the rate by it) and on every other digit of the test set (report it; `collapsed`: under one half), and with batches of 64 on 1,000 test digits
printed faintly or on gray paper. For batch norm also accuracies on the same validation digits, which are full batches
of each size, with statistics other than the running averages: `own`, those of each batch itself, as in training, and `exact`, those of 2,048
training digits.
Updates: 256 of 2 digits, 128 of 8, 64 of 64, 20 of 1,024. A second part keeps 64 digits an update and takes only batch norm's *statistics* from
`group` digits at a time, without and with a norm on the scores (`last`). Seeds of batches under 64 are trained together; `cpu` is seconds for each network.
It takes one core a quarter of an hour: `python experiments/norm_layers.py` writes `convlab/static/norm_layers.csv`."""
import copy
import time

from common import F, digits, evaluate, nn, study, torch

from convlab.norm_layers import norm_cnn, norm_layers
from convlab.study.together import train_apart, train_together
from convlab.training import one_cycle_schedule

printed = dict(faint=(.25, 0), gray=(.5, .5))  # contrast, and how gray the paper is


class GroupedBatchNorm2d(nn.BatchNorm2d):
    "Batch norm with the statistics of `group` digits at a time; what it remembers is the mean over the groups."
    def __init__(self, nf, group):
        super().__init__(nf)
        self.group = group

    def forward(self, x):
        if not self.training: return super().forward(x)
        k, c = len(x)//self.group, self.num_features
        beside = x.unflatten(0, (k, -1)).transpose(0, 1).flatten(1, 2)  # groups become channels
        means = [o.repeat(k) for o in (self.running_mean, self.running_var)]
        beside = F.batch_norm(beside, *means, training=True, momentum=self.momentum)
        for mine, o in zip((self.running_mean, self.running_var), means): mine.copy_(o.view(k, c).mean(0))
        x = beside.unflatten(1, (k, c)).transpose(0, 1).flatten(0, 1)
        return x*self.weight[:, None, None] + self.bias[:, None, None]


def paper(x, contrast, gray):  # images
    "The digits printed with less contrast, on paper that is `gray` (0 white, 1 black)."
    lo, hi = x.amin(), x.amax()
    return lo + (hi-lo)*(contrast*(x-lo)/(hi-lo) + gray)


def some_valid(): return [o[:2048] for o in digits()['valid']]  # images and labels


@torch.no_grad()
def other_statistics(net, x, bs) -> dict:  # validation accuracies
    "Accuracy by each batch's own statistics, and by those of 2,048 training digits, on the digits that `valid` is about."
    net, (xv, yv) = copy.deepcopy(net).train(), some_valid()
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    for m in norms: m.momentum = 0.
    own = torch.cat([net(o) for o in xv.split(bs)]).argmax(1) == yv
    for m in norms:
        m.reset_running_stats()
        m.momentum = None
    for o in x[:2048].split(256): net(o)
    return dict(own=own.float().mean().item(), exact=evaluate(net, xv, yv)[1])


def run(seeds, norm, bs, steps, lr, group, last):
    (x, y), nets = digits()['train'], []
    for seed in seeds:
        torch.manual_seed(seed)
        nets.append(norm_cnn(norm if group == bs else lambda nf: GroupedBatchNorm2d(nf, group), last))
    orders = torch.stack([torch.randperm(len(x), generator=torch.Generator().manual_seed(s))[:steps*bs].view(steps, bs) for s in seeds])
    start = time.process_time()
    (train_together if bs < 64 else train_apart)(nets, x, y, orders, *one_cycle_schedule(steps, lr))
    cpu, (xt, yt), found = (time.process_time()-start)/len(seeds), [o[::2] for o in digits()['test']], []
    for net in nets:
        r = dict(valid=evaluate(net, *some_valid())[1], test=evaluate(net, xt, yt)[1], cpu=cpu,
                 faint=None, gray=None, own=None, exact=None)
        if bs == 64: r.update({k: evaluate(net, paper(xt[::5], *how), yt[::5])[1] for k, how in printed.items()})
        if norm == 'batch' and group == bs: r.update(other_statistics(net, x, bs))
        found.append(dict(r, collapsed=r['test'] < .5))
    return found


def grid(bs, steps, rates, norms=tuple(norm_layers), group=None, last=(False,)):
    return dict(norm=norms, bs=[bs], steps=[steps], lr=rates, group=[group or bs], last=last)


if __name__ == '__main__':
    few = [grid(64, 64, [.01], ['batch'], group, [last]) for group in (2, 8, 64) for last in (True, False)]
    low, high = [.001, .003, .01, .03], [.003, .01, .03, .1]
    parts = [grid(64, 64, high), grid(2, 256, low), grid(8, 128, low), grid(1024, 20, high), *few]
    runs = study(__file__, run, *[(p, 5) for p in parts], together=True)
    cell = ['bs', 'group', 'last', 'norm', 'lr']
    print(runs.groupby(cell, sort=False)[['valid', 'test', 'own', 'exact', 'faint', 'gray', 'collapsed', 'cpu']].mean().round(3).to_string())
