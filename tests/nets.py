"Models that tests make of a function."
from torch import nn


class L(nn.Module):
    "A function of the module and its input; parts by name."
    def __init__(self, f, **parts):
        super().__init__()
        self.f = f
        for k, v in parts.items(): setattr(self, k, v)

    def forward(self, *args, **kwargs): return self.f(self, *args, **kwargs)
