"""Convolutional networks from one pixel to a trained network: the library of the course.

    import convlab
    convlab.arithmetic(model, (3,224,224))                 # what each layer costs
    convlab.receptive_field(model, (3,224,224), 'layer1')  # which pixels it sees

`dir(convlab)` lists the instruments. Each is imported when it is first used.
"""
from importlib import import_module, util

__version__ = "0.2.0"
__source__ = "convlab-course[{extra}] @ git+https://github.com/convlab-course/convlab@main"  # what pip installs

_light = {  # where each instrument of the light core is
    'convolutions': 'out_size conv2d im2col conv_matrix',
    'models': 'conv simple_cnn n_params',
    'norms': 'BatchNorm2d',
    'arithmetic': 'arithmetic show_arithmetic totals',
    'trace.counting': 'count_rule',
    'receptive': 'receptive_field trace_precedents show_precedents projective_field gradient_probe '
                 'effective_receptive_field',
    'study.activations': 'record_activations',
    'draw.workbook': 'conv_workbook',
}
_course = {  # and of those that need the extra `course`
    'study.data': 'mnist_path load_mnist get_dls',
    'study.sweep': 'sweep summarize paired show_means result_table',
    'training': 'fit one_cycle_schedule',
    'stats': 'ActivationStats',
}
_homes = {name: home for home, names in (_light | _course).items() for name in names.split()}
__all__ = [name for name, home in _homes.items() if home in _light or util.find_spec('fastai')]


def __getattr__(name):
    if name not in _homes: raise AttributeError(f"module 'convlab' has no attribute {name!r}")
    found = getattr(import_module(f'convlab.{_homes[name]}'), name)
    # `arithmetic` is a module too: importing it has put it here, and it can be called as the function can
    return globals().setdefault(name, found)


def __dir__(): return [*__all__, '__version__']
