"""The operator: everything that touches the Kubernetes API, and nothing that touches audio, models or the bucket."""

__version__ = "0.1.0"
