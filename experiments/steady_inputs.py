"""Does batch normalization help because it keeps the inputs of each layer steady?

After Santurkar et al. 2018 (arXiv 1805.11604): a network without norm, one with batch norm, and one where random numbers, drawn anew at each
step, shift and scale every channel after batch norm, so that nothing is steady. All start from Kaiming's weights, with which each of them
learns, and take 120 steps of plain gradient descent with 256 digits. The last layer, which makes the scores, has no norm.
`moved`: how far the inputs of layers 1 to 4 move at a step, on 500 digits that stay the same: root mean square, over channels, of the change
of their mean and standard deviation; `moved_relative`: the same in units of the layer's own standard deviation.
It takes one core two minutes: `python experiments/steady_inputs.py` writes `convlab/static/steady_inputs.csv`."""
from common import F, batches, digits, evaluate, kaiming, nn, study, torch
from convlab.models import conv, simple_cnn


class NoisyBatchNorm(nn.BatchNorm2d):
    "Batch norm, then a random scale from .5 to 1.5 and a random shift of standard deviation .5 for each channel, new at each call."
    def forward(self, x):
        x = super().forward(x)
        if not self.training: return x
        return x*(.5+torch.rand(self.num_features, 1, 1)) + torch.randn(self.num_features, 1, 1)/2


norms = {'none': None, 'batch norm': nn.BatchNorm2d, 'batch norm, then noise': NoisyBatchNorm}


@torch.no_grad()
def inputs(net, x) -> list:  # for each layer but the first: mean and standard deviation of each channel of its input [2,C]
    "Looked at in training mode, running averages left alone."
    found = []
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d): m.momentum = 0.
    for layer in net[:4]:
        x = layer(x)
        found.append(torch.stack([x.mean((0, 2, 3)), x.std((0, 2, 3))]))
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d): m.momentum = .1
    return found


def run(seed, norm, lr, steps=120):
    torch.manual_seed(seed)
    net = simple_cnn(norm=norms[norm])
    net[4] = conv(64, 10, act=False)
    kaiming(net)
    x, y = digits()['train']
    probe, opt, losses, moved, relative = x[-500:], torch.optim.SGD(net.parameters(), lr), [], [], []
    last = inputs(net, probe)
    for xb, yb in batches(x[:-500], y[:-500], 256, steps, seed):
        opt.zero_grad()
        losses.append(F.cross_entropy(net(xb), yb))
        losses[-1].backward()
        opt.step()
        now = inputs(net, probe)
        steps_of = [(a-b).square().sum(0).mean().sqrt() for a, b in zip(now, last)]
        moved.append(torch.stack(steps_of).mean())
        relative.append(torch.stack([s/b[1].square().mean().sqrt() for s, b in zip(steps_of, last)]).mean())
        last = now
    valid_loss, valid = evaluate(net, *digits()['valid'])
    first, end = torch.stack(losses).detach()[:40], torch.stack(losses).detach()[-12:]
    return dict(train_loss_40=first[-5:].mean(), train_loss=end.mean(), valid_loss=valid_loss, valid=valid,
                moved=torch.stack(moved).mean(), moved_relative=torch.stack(relative).mean())


if __name__ == '__main__':
    runs = study(__file__, run, (dict(norm=list(norms), lr=[.03, .1, .3]), 5))
    print(runs.groupby(['lr', 'norm'], sort=False).mean().round(4).to_string())
