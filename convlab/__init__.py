"Convolutional networks from one pixel to a trained network: the library of the course."
__version__ = "0.2.0"
__source__ = "convlab-course[{extra}] @ git+https://github.com/convlab-course/convlab@main"  # what pip installs
