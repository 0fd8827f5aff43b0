"""Every name that the API fixes: group and kind, labels, condition types, phases and their reasons.

Reasons of single recordings are the worker's (`transcription_worker.errors.Reason`); these here are the job's.
"""

from __future__ import annotations

from enum import StrEnum

GROUP = "transcription-operator.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "TranscriptionJob"
LIST_KIND = "TranscriptionJobList"
PLURAL = "transcriptionjobs"
SINGULAR = "transcriptionjob"
SHORT_NAMES = ("tj",)
CATEGORIES = ("all",)
"""`kubectl get all` shows a job beside the batch Jobs and pods that it owns."""
CRD_NAME = f"{PLURAL}.{GROUP}"

PLAN_SUFFIX = "-plan"
WORK_SUFFIX = "-work"
REPORT_SUFFIX = "-report"
MAX_REPLICAS = 10_000
MAX_NAME_LENGTH = 63 - len(f"{WORK_SUFFIX}-{MAX_REPLICAS - 1}-xxxxx")
"""47 characters: the longest pod name, `<name>-work-9999-<5 random>`, must be a DNS label (RFC 1035)."""
NAME_PATTERN = "^[a-z]([-a-z0-9]*[a-z0-9])?$"

LABEL_JOB = f"{GROUP}/job"
"""On every child: the name of its TranscriptionJob."""
LABEL_COMPONENT = f"{GROUP}/component"
"""On every child: one of `Component`."""
LABEL_APP_NAME = "app.kubernetes.io/name"
LABEL_APP_INSTANCE = "app.kubernetes.io/instance"
LABEL_APP_COMPONENT = "app.kubernetes.io/component"
LABEL_APP_MANAGED_BY = "app.kubernetes.io/managed-by"
APP_NAME = "transcription-operator"

LABEL_QUEUE_NAME = "kueue.x-k8s.io/queue-name"
LABEL_QUEUE_PRIORITY = "kueue.x-k8s.io/priority-class"
INHERITED_LABELS = (LABEL_QUEUE_NAME, LABEL_QUEUE_PRIORITY)
"""Handed down from the TranscriptionJob to its work Job."""

ANNOTATION_OPTIONS_DIGEST = f"{GROUP}/options-digest"
"""On every child: the digest of the options that shape a transcript."""


class Component(StrEnum):
    """Which child of a TranscriptionJob an object is."""

    PLAN = "plan"
    WORK = "work"
    REPORT = "report"


class Phase(StrEnum):
    """A summary for people; machines read the conditions."""

    PENDING = "Pending"
    PLANNING = "Planning"
    RUNNING = "Running"
    REPORTING = "Reporting"
    SUSPENDED = "Suspended"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class ConditionType(StrEnum):
    """What `kubectl wait --for=condition=...` can wait for."""

    PLANNED = "Planned"
    SUSPENDED = "Suspended"
    COMPLETE = "Complete"
    FAILED = "Failed"


class ConditionReason(StrEnum):
    """Why a condition stands as it does. The fixed list: nothing else writes a reason."""

    PLANNING = "Planning"
    PLAN_WRITTEN = "PlanWritten"
    PLAN_FAILED = "PlanFailed"
    SUSPENDED_BY_SPEC = "SuspendedBySpec"
    SUSPENDED_BY_QUEUE = "SuspendedByQueue"
    RESUMED = "Resumed"
    RUNNING = "Running"
    REPORTING = "Reporting"
    POD_BLOCKED = "PodBlocked"
    """A pod cannot start: a Secret, claim, image or node is missing. It starts once that is there."""
    REFUSED = "Refused"
    """The API server did not take a child (a quota, an admission policy); it is asked again."""
    COMPLETED = "Completed"
    COMPLETED_WITH_FAILURES = "CompletedWithFailures"
    TOO_MANY_FAILED_RECORDINGS = "TooManyFailedRecordings"
    WORKERS_LOST = "WorkersLost"
    """The work Job ended while shards had no ledger; applying the job again resumes."""
    REPORT_FAILED = "ReportFailed"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    CONFIGURATION = "Configuration"
    """A pod said that no attempt can succeed before a person changes something (exit 78)."""
    INVALID_SPEC = "InvalidSpec"
    """A fault that no rule of the definition sees, or a definition of another version than the operator."""
