"""Tests against a real Kubernetes. A package so that its helpers can be imported as `tests.e2e.cluster`."""
