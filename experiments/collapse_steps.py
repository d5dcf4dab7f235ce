"""What happens, batch by batch, in a network that collapses?

The ten-digit network at 512 digits per batch and a rate of .06, constant or 1cycle, ten seeds; one row a step, the first (-1) for the start, all
steps to 40, then every fourth.
`loss` is that of the batch before the step, `after` that of the same batch after it (larger: the step overshot). Then, for each layer with a
ReLU (1 to 4), on that batch and after the step:
`std` the standard deviation of what goes into the ReLU (growth), `below` the share of it that is not above zero, `pass` the share of units
(one channel at one place) that are above zero for at least one digit of the batch: the others pass no gradient.
It takes one core five minutes: `python experiments/collapse_steps.py` writes `convlab/static/collapse_steps.csv`."""
import json

from common import F, batches, digits, evaluate, swept, torch, train, unfold, write

from convlab.models import simple_cnn


@torch.no_grad()
def look(net, x) -> dict:
    row = {}
    for i, block in enumerate(net[:4], 1):
        x = block[0](x)
        row |= {f'std_{i}': x.std().item(), f'below_{i}': (x <= 0).float().mean().item(), f'pass_{i}': (x > 0).any(0).float().mean().item()}
        x = block[1](x)
    return row


def run(seed, schedule, bs=512, lr=.06, steps=117):
    x, y = digits()['train']
    torch.manual_seed(seed)
    net, same = simple_cnn(), batches(x, y, bs, steps, seed)
    rows = [dict(step=-1, **look(net, x[:bs]))]
    def after(i, net, loss):
        xb, yb = next(same)
        if i > 40 and i % 4: return
        with torch.no_grad(): again = F.cross_entropy(net(xb), yb)
        rows.append(dict(step=i, loss=loss.item(), after=again.item(), **look(net, xb)))
    train(net, x, y, bs, steps, lr, seed, schedule, after)
    return dict(valid=evaluate(net, *digits()['valid'])[1], rows=json.dumps(rows))


if __name__ == '__main__':
    runs = unfold(swept(run, (dict(schedule=['constant', '1cycle']), 10)), 'schedule', 'seed', 'valid')
    write('collapse_steps', runs, '%.3g')
    print(runs[runs.step.isin([0, 5, 10, 20, 40, 80, 116])].round(3).to_string())
