"""Does the learning-rate range test (Smith 2015) find a rate that trains well?

The rate grows from 1e-6 to 10 in 100 updates, the loss is smoothed as fastai smooths it, and four rules read a rate off: `minimum` (a tenth of the
rate with the lowest loss), `steep` (where the loss falls fastest), and fastai's `valley` and `slide`. The ten-digit network from PyTorch's start, and with
batch norm, batches of 64 and 512, twenty seeds. Beside it each network trained for 117 updates at nine constant rates and with nine tops of 1cycle,
three seeds: which rates really end well. `kind` is `test` (columns minimum, steep, valley, slide, and `curve`, the smoothed losses) or `training`.
It takes one core a quarter of an hour: `python experiments/range_test.py` writes `convlab/static/range_test.csv` and `range_test_curves.csv`."""
import json

from common import F, adam, batches, digits, evaluate, nn, swept, torch, train, unfold, write

from convlab.models import simple_cnn

rates = [.0003, .001, .003, .01, .03, .06, .1, .3, 1.]
n = 100


def smoothed(losses, beta=.98):
    "fastai's smooth_loss: an average with a memory of 50 updates, freed of its start."
    found, mean = [], 0.
    for i, loss in enumerate(losses, 1):
        mean = beta*mean + (1-beta)*loss
        found.append(mean/(1-beta**i))
    return found


def range_test(net, x, y, bs, seed):  # the rates, and the smoothed losses
    "One update at each of the rates from 1e-6 to 10; it ends where the loss is four times the best so far."
    opt, lrs, losses = adam(net), [], []
    for i, (xb, yb) in enumerate(batches(x, y, bs, n, seed)):
        lr = 1e-6*1e7**(i/(n-1))
        for g in opt.param_groups: g['lr'].fill_(lr)
        opt.zero_grad()
        loss = F.cross_entropy(net(xb), yb)
        loss.backward()
        opt.step()
        lrs.append(lr), losses.append(loss.item())
        smooth = smoothed(losses)
        if not loss.isfinite() or smooth[-1] > 4*min(smooth): break
    return lrs, smooth


def suggestions(lrs, losses):
    from convlab import compat  # noqa: F401  before fastai
    from fastai.callback.schedule import minimum, slide, steep, valley
    found = {}
    for rule in (minimum, steep, valley, slide):
        try: found[rule.__name__] = float(rule(torch.tensor(lrs), torch.tensor(losses), len(lrs))[0])
        except (IndexError, ValueError, RuntimeError): found[rule.__name__] = None  # the rule finds nothing to say
    return found


def network(seed, norm):
    torch.manual_seed(seed)
    return simple_cnn(norm=nn.BatchNorm2d if norm else None)


def run(seed, kind, norm, bs, schedule, lr):
    parts, net = digits(), network(seed, norm)
    if kind == 'test':
        lrs, losses = range_test(net.train(), *parts['train'], bs, seed)
        found = dict(suggestions(lrs, losses), rows=json.dumps([dict(lr=a, loss=b) for a, b in zip(lrs, losses)]))
        return dict(found, valid=None, test=None)
    train(net, *parts['train'], bs, 117, lr, seed, schedule)
    valid, test = [evaluate(net, *parts[p])[1] for p in ('valid', 'test')]
    return dict(minimum=None, steep=None, valley=None, slide=None, rows='[]', valid=valid, test=test)


if __name__ == '__main__':
    nets = dict(norm=[False, True], bs=[64, 512])
    found = swept(run, (dict(kind=['test'], **nets, schedule=['rising'], lr=[0.]), 20), (dict(kind=['training'], **nets, schedule=['constant', '1cycle'], lr=rates), 3))
    write('range_test', found.drop(columns='rows'))
    write('range_test_curves', unfold(found[found.kind == 'test'], 'norm', 'bs', 'seed'), '%.4g')
    rules = ['minimum', 'steep', 'valley', 'slide']
    print(found[found.kind == 'test'].astype(dict.fromkeys(rules, float)).groupby(['norm', 'bs'])[rules].quantile([.1, .5, .9]).to_string())
    print(found[found.kind == 'training'].groupby(['norm', 'bs', 'schedule', 'lr'])[['valid', 'test']].mean().round(4).to_string())
