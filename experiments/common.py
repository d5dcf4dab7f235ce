"""What the studies share: the digits in three parts, plain training loops, and where results go."""
import json
import math
import os
import sys
from pathlib import Path

os.environ.setdefault('OMP_NUM_THREADS', '1')
here = Path(__file__).resolve().parent
sys.path.insert(0, str(here.parent))
import pandas as pd  # noqa: E402
import torch  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from convlab.study.data import load_mnist, mnist_path  # noqa: E402
from convlab.study.sweep import sweep  # noqa: E402

torch.set_num_threads(1)
_digits = {}


def digits() -> dict:  # 'train' 50,000, 'valid' 10,000, 'test' 10,000: images float32 [N,1,28,28], normalized, and labels
    "MNIST in three parts. The validation part is carved out of the training set by one fixed draw; choices are made on it."
    if not _digits:
        x, y, x_test, y_test = load_mnist(mnist_path())
        if len(x) < 60_000: raise SystemExit('the studies need the full MNIST, and this is the small part of it')
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(13))
        scale = x.float().std(), x.float().mean()
        for name, a, b in (('train', x[order[:50_000]], y[order[:50_000]]), ('valid', x[order[50_000:]], y[order[50_000:]]), ('test', x_test, y_test)):
            _digits[name] = a.float().sub(scale[1]).div(scale[0]).unsqueeze(1), b
    return _digits


def batches(x, y, bs, steps, seed):
    "`steps` full batches, in an order that `seed` decides; the data are shuffled anew when they run out."
    gen, order = torch.Generator().manual_seed(seed), torch.tensor([], dtype=torch.long)
    for _ in range(steps):
        if len(order) < bs: order = torch.randperm(len(x), generator=gen)
        take, order = order[:bs], order[bs:]
        yield x[take], y[take]


def kaiming(net):  # the same network
    "Start from Kaiming's weights (He et al. 2015): variance 2/fan_in, which keeps activations as large as they come; biases 0."
    for m in net.modules():
        if isinstance(m, (nn.Conv2d, nn.Linear)): nn.init.kaiming_normal_(m.weight, nonlinearity='relu'), nn.init.zeros_(m.bias)
    return net


def adam(net):
    "fastai's default optimizer and options: decoupled weight decay of .01, none on biases and norms."
    some, rest = [p for p in net.parameters() if p.ndim > 1], [p for p in net.parameters() if p.ndim < 2]
    groups = [dict(params=some, weight_decay=.01), dict(params=rest, weight_decay=0.)]
    return torch.optim.AdamW([g for g in groups if g['params']], lr=torch.tensor(.001), betas=(.9, .99), eps=1e-5, fused=True)


def cos(a, b, t): return b + (a-b)*(1+math.cos(math.pi*t))/2


def schedule(t, lr, kind='constant', pct=.25):  # learning rate and momentum
    "The schedule `kind` at `t`, 0 to 1 through training. 1cycle has fastai's defaults; the others leave out a part of it."
    up = t < pct
    rate = cos(lr/25, lr, t/pct) if up else cos(lr, lr/1e5, (t-pct)/(1-pct))
    mom = cos(.95, .85, t/pct) if up else cos(.85, .95, (t-pct)/(1-pct))
    return {'constant': (lr, .9), '1cycle': (rate, mom), 'no warm-up': (lr if up else rate, mom),
            'no decay': (rate if up else lr, mom), 'no momentum cycle': (rate, .9)}[kind]


def train(net, x, y, bs, steps, lr, seed, kind='constant', after=None):
    "Train `net` by Adam. `after(step, net, loss)` is called after each step. Returns the mean loss of the last tenth."
    net.train().to(memory_format=torch.channels_last)
    opt, losses = adam(net), []
    for i, (xb, yb) in enumerate(batches(x, y, bs, steps, seed)):
        rate, mom = schedule(i/steps, lr, kind)
        for g in opt.param_groups: g['lr'].fill_(rate), g.update(betas=(mom, .99))
        opt.zero_grad()
        loss = F.cross_entropy(net(xb), yb)
        loss.backward()
        opt.step()
        losses.append(loss.detach())
        if after: after(i, net, losses[-1])
    return torch.stack(losses[-max(1, steps//10):]).mean().item()


@torch.no_grad()
def evaluate(net, x, y) -> tuple:  # loss and accuracy
    "In eval mode, all of `x`."
    net.eval()
    out = torch.cat([net(o) for o in x.split(1000)])
    return F.cross_entropy(out, y).item(), (out.argmax(1) == y).float().mean().item()


def epochs(net, x, y, n, lr, bs=64):
    "`n` epochs of full batches with PyTorch's own AdamW and 1cycle, in an order that its global generator decides."
    opt = torch.optim.AdamW(net.parameters(), lr)
    sched = torch.optim.lr_scheduler.OneCycleLR(opt, lr, n*(len(x)//bs))
    for _ in range(n):
        for i in torch.randperm(len(x))[:len(x)//bs*bs].view(-1, bs):
            F.cross_entropy(net(x[i]), y[i]).backward()
            opt.step()
            opt.zero_grad()
            sched.step()


def swept(run, *parts, together=False):  # each part: a grid, and its seeds; does `run` take all seeds at once?
    "`sweep`, resumed from `log/NAME.jsonl`, where NAME is the script that `run` is from."
    log = here/'log'/f'{Path(run.__code__.co_filename).stem}.jsonl'
    log.parent.mkdir(exist_ok=True)
    settings = parts[0][0] if isinstance(parts[0][0], dict) else parts[0][0][0]
    runs = pd.concat([sweep(run, grid, seeds, log, together=together) for grid, seeds in parts], ignore_index=True).drop_duplicates([*settings, 'seed'])
    print(*runs.versions.unique(), *runs.machine.unique(), f'{runs.seconds.sum():.0f} s', *runs.error.dropna().unique(), sep='\n')
    same = ['versions', 'machine'] + ([] if runs.error.notna().any() else ['error'])
    return runs.drop(columns=same)


def unfold(runs, *keep):  # the columns to keep of each run
    "A row for each of those that a run returned as JSON in `rows`: many steps, kernels or measures of one network."
    return pd.DataFrame([{**{k: run[k] for k in keep}, **row} for run in runs.to_dict('records') for row in json.loads(run['rows'])])


def kernel_rows(before, after):  # two tensors `[n,C,h,w]`
    "What `unfold` makes a table of: a row for each kernel of a layer, before and after training."
    return json.dumps([dict(kernel=k, training=when, **{f'w{i}': v for i, v in enumerate(kernel.flatten().tolist())})
                       for when, w in (('before', before), ('after', after)) for k, kernel in enumerate(w)])


def write(name, table, digits='%.6g'):
    "To `convlab/static/`, where lessons read it."
    table.to_csv(here.parent/'convlab'/'static'/f'{name}.csv', index=False, float_format=digits, lineterminator='\n')


def study(file, run, *parts, together=False):
    "`swept`, and written under the name of the script."
    runs = swept(run, *parts, together=together)
    write(Path(file).stem, runs)
    return runs
