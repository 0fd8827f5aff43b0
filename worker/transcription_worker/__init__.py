"""The worker: everything that touches audio, the object store, the model and scratch."""

__version__ = "0.1.0"
