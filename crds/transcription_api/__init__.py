"""The API `transcription-operator.io/v1alpha1`: what a TranscriptionJob may say, and what is said about one.

`load.py` reads manifests, `job.py` holds the models, `crd.py` makes the CustomResourceDefinition from them. `names`,
`uri`, `globs`, `quantity` and `load` import without pydantic, so that programs which only need those start fast.
"""
