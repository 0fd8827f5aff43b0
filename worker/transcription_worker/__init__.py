"""The worker: everything that touches audio, the object store, the model and scratch."""

