"Convolutional networks from one pixel to a trained network: the library of the course."
__version__ = "0.1.0"
