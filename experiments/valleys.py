"""Does a high rate lead to wider valleys? What the next step would do to the loss, by how one trained so far.

The ten-digit network, Adam, batches of 512 digits, at two low constant rates and with 1cycle up to .06. One row a run, after 30 updates of 117, which is where
1cycle has its top: the loss of 1,000 training digits; what it would be after the next step of Adam at .03, .06 and .1; how far such a
step moves the weights at a rate of 1 (root mean square); and the *sharpness*, the largest eigenvalue of the loss's second derivatives (power iteration, same digits).
It takes one core two minutes: `python experiments/valleys.py` writes `convlab/static/valleys.csv`."""
from common import F, adam, batches, digits, schedule, study, torch
from convlab.models import simple_cnn

ways = {'constant .003': ('constant', .003), 'constant .01': ('constant', .01), '1cycle .06': ('1cycle', .06)}


def sharpness(net, x, y, n=12):
    ps = list(net.parameters())
    grads = torch.autograd.grad(F.cross_entropy(net(x), y), ps, create_graph=True)
    gen = torch.Generator().manual_seed(0)
    v, size = [torch.randn(p.shape, generator=gen) for p in ps], 1.
    for _ in range(n):
        v = torch.autograd.grad(grads, ps, [o/size for o in v], retain_graph=True)
        size = torch.stack([o.square().sum() for o in v]).sum().sqrt()
    return size.item()


def step(opt, net, batch, rate, mom):  # of Adam
    for g in opt.param_groups: g['lr'].fill_(rate), g.update(betas=(mom, .99))
    opt.zero_grad()
    F.cross_entropy(net(batch[0]), batch[1]).backward()
    opt.step()


def look(net, opt, batch, mom, x, y):
    "What the next step would do; network and optimizer are left as they were."
    kept, state = [p.detach().clone() for p in net.parameters()], opt.state_dict()
    def loss(): return F.cross_entropy(net(x), y).item()
    found = dict(loss=loss(), sharpness=sharpness(net, x, y))
    for rate in (.03, .06, .1):
        trial = adam(net)
        trial.load_state_dict(state)
        for g in trial.param_groups: g.update(lr=torch.tensor(rate), weight_decay=0.)
        for s in trial.state.values(): s.update({k: v.clone() for k, v in s.items()})
        step(trial, net, batch, rate, mom)
        found[f'after_{rate}'] = loss()
        moved = torch.cat([(p.detach()-k).flatten() for p, k in zip(net.parameters(), kept)])
        found['moved'] = moved.square().mean().sqrt().item()/rate
        with torch.no_grad():
            for p, k in zip(net.parameters(), kept): p.copy_(k)
    return found


def run(seed, way, update):
    (x, y), (kind, lr) = digits()['train'], ways[way]
    torch.manual_seed(seed)
    net = simple_cnn()
    opt = adam(net)
    for i, batch in enumerate(batches(x, y, 512, update+1, seed)):
        rate, mom = schedule(i/117, lr, kind)
        if i == update: return look(net, opt, batch, mom, x[:1000], y[:1000])
        step(opt, net, batch, rate, mom)


if __name__ == '__main__':
    runs = study(__file__, run, (dict(way=list(ways), update=[30]), 5))
    print(runs.groupby(['way', 'update'], sort=False)[['loss', 'sharpness', 'moved', 'after_0.03', 'after_0.06', 'after_0.1']].median().round(3).to_string())
