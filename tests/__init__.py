"""Tests. A package only so that its helpers can be imported as `tests.<name>`."""
