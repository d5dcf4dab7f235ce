"""Why does batch normalization help? A smoother loss, and noise: two experiments over five seeds. (Steady inputs have a study of their own.)

smooth   forty steps of plain gradient descent: how much the loss and its gradient change along the gradient, and the loss on digits not seen.
noise    5,000 digits, fifteen epochs: accuracy on them and on others, with statistics from groups of 16, 64 or all 256 digits of a batch, and without any.

It takes one core eight minutes: `python experiments/batchnorm_why.py` writes `convlab/static/batchnorm_why.csv`, one row for each measure of a run,
which lesson `09_batchnorm` reads."""
import itertools
import json
from functools import lru_cache

from common import F, epochs, evaluate, kaiming, load_mnist, mnist_path, nn, swept, torch, unfold, write
from convlab.models import simple_cnn


def groups(n):
    "Batch normalization with the statistics of `n` digits at a time, whatever the size of the batch."
    class Grouped(nn.BatchNorm2d):
        def forward(self, x): return torch.cat([super(Grouped, self).forward(o) for o in x.split(n)]) if self.training else super().forward(x)
    return Grouped


norms = {'none': None, 'batch norm': nn.BatchNorm2d, **{f'groups of {n}': groups(n) for n in (16, 64, 256)}}


@lru_cache
def data():
    x, y, xv, yv = load_mnist(mnist_path())
    x, xv = [(t[:, None].float()/255 - .1307)/.3081 for t in (x, xv)]
    return x, y, xv, yv


def batches(x, y, bs, n, seed):
    gen = torch.Generator().manual_seed(seed)
    return [(x[i], y[i]) for i in itertools.islice(itertools.cycle(torch.randperm(len(x), generator=gen)[:len(x)//bs*bs].view(-1, bs)), n)]


def smooth(norm, x, y, xv, yv, seed, lr=.1):
    def grads(net, params, xb, yb):
        loss = F.cross_entropy(torch.func.functional_call(net, params, xb), yb)
        return loss.item(), dict(zip(params, torch.autograd.grad(loss, list(params.values()))))
    def walk(params, grad, step): return {k: (p-step*grad[k]).detach().requires_grad_() for k, p in params.items()}
    torch.manual_seed(seed)
    net = kaiming(simple_cnn(norm=norm))  # with these weights the one without normalization learns too
    params, found = dict(net.named_parameters()), []
    for i, (xb, yb) in enumerate(batches(x, y, 256, 40, seed)):
        loss, grad = grads(net, params, xb, yb)
        if i % 4 == 0:
            tries = [grads(net, walk(params, grad, k*lr), xb, yb) for k in (.5, 1, 2, 4)]
            far = max(sum((grad[k]-g[k]).square().sum() for k in grad).sqrt() for _, g in tries)
            found.append((max(o for o, _ in tries) - min(o for o, _ in tries), far))
        params = walk(params, grad, lr)
    variation, change = torch.tensor(found).median(0).values.tolist()
    with torch.no_grad(): test = F.cross_entropy(torch.func.functional_call(net.eval(), params, xv), yv).item()
    return dict(variation=variation, change=change, loss=loss, test=test)


def noise(norm, x, y, xv, yv, seed):
    few = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:5000]
    torch.manual_seed(seed)
    net = simple_cnn(norm=norm)
    epochs(net, x[few], y[few], 15, .01, 256)
    scores = {where: evaluate(net, *d) for where, d in dict(train=(x[few], y[few]), valid=(xv, yv)).items()}
    return {f'{where} {what}': v for where, both in scores.items() for what, v in zip(('loss', 'accuracy'), both)}


def run(seed, experiment, network):
    found = dict(smooth=smooth, noise=noise)[experiment](norms[network], *data(), seed)
    return dict(rows=json.dumps([dict(what=k, value=v) for k, v in found.items()]))


if __name__ == '__main__':
    grid = [dict(experiment='smooth', network=n) for n in ('none', 'batch norm')] + [dict(experiment='noise', network=n) for n in norms if n != 'batch norm']
    runs = unfold(swept(run, (grid, 5)).sort_values('seed', kind='stable'), 'experiment', 'network', 'seed')
    write('batchnorm_why', runs, '%.4f')
    print(runs.groupby(['experiment', 'network', 'what'], sort=False).value.mean().round(4).to_string())
