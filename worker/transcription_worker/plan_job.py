"""`transcription-worker plan`: prove access, list, write the plan, say what was found."""

from __future__ import annotations

from collections.abc import Iterator

from transcription_worker.commit import Overwrite
from transcription_worker.errors import ConfigurationError
from transcription_worker.input_manifest import from_manifest
from transcription_worker.inputs import from_listing, output_below_input
from transcription_worker.job_context import JobContext
from transcription_worker.plan import Plan, Recording, make_plan
from transcription_worker.scratch import Scratch
from transcription_worker.standing import with_standing
from transcription_worker.timestamps import utc_now

STALE_UPLOAD_SECONDS = 24 * 3600.0
"""An upload of this tool's that began so long ago has no owner any more."""


def run_plan(context: JobContext, scratch: Scratch) -> Plan:
    """Make the plan of a job, or return the one that stands.

    Raises:
        ConfigurationError: a store cannot be used, nothing matches, a manifest cannot be read.
    """
    from transcription_api.globs import GlobError, compile_globs

    spec = context.job.spec
    source, output = context.input_store, context.output_store
    source.check(write=False)
    output.check(write=True)
    output.abort_stale_uploads(STALE_UPLOAD_SECONDS)
    recordings: Iterator[Recording | None]
    if context.manifest_name:
        recordings = from_manifest(source, context.manifest_name, scratch)
    else:
        try:
            matches = compile_globs(spec.input.include, spec.input.exclude)
        except GlobError as error:  # the API server's rules cannot see every fault of a glob
            raise ConfigurationError(f"spec.input: {error}") from None
        recordings = from_listing(
            source,
            matches,
            output_below=output_below_input(context.input_uri, context.output_uri),
        )
    plan = make_plan(
        with_standing(
            recordings,
            output,
            context.layout,
            scratch,
            formats=spec.output.all_formats,
            options_digest=context.options_digest,
            overwrite=Overwrite(spec.output.overwrite),
        ),
        output,
        context.layout,
        scratch,
        workers=spec.workers.replicas,
        conditional_writes=output.supports_conditions(),
        now=utc_now,
    )
    if plan.recordings == 0:
        raise ConfigurationError(
            f"No recording in {spec.input.uri or spec.input.manifest}: {plan.ignored} objects were ignored; correct "
            "spec.input or its include and exclude."
        )
    return plan
