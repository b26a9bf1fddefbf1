"""Errors that a flow's author meets while a step runs. Each message says what was wrong and what to do."""

from __future__ import annotations


class FlowcError(Exception):
    """Base of every error that flowc raises on purpose; its text is complete, a traceback adds nothing to it."""


class MissingArtifact(FlowcError, AttributeError):
    """A step read an artifact that no step before it has set."""


class MergeConflict(FlowcError):
    """``merge_artifacts`` met two values for one name."""


class BadTransition(FlowcError):
    """``self.next`` was not called, called twice, or called with what the flow does not allow."""


class BadArtifact(FlowcError):
    """An artifact cannot be stored: it does not pickle."""


class ArtifactUnreadable(FlowcError):
    """An artifact cannot be loaded: its blob is missing or damaged, or a module that it needs is not there."""


class CaughtFailure(Exception):
    """What the artifact named by ``@catch(var=...)`` holds after the step failed.

    Attributes
    ----------
    type : str
        Name of the exception's class; ``ProcessFailure`` where the process ended without an exception.
    message : str
        Text of the exception, or how the process ended.
    traceback : str
        The author's traceback, empty where there is none.
    exception, stacktrace : str
        The message and the traceback by the names that Metaflow has for them.
    """

    def __init__(self, type: str, message: str, traceback: str = "") -> None:
        super().__init__(type, message, traceback)
        self.type = type
        self.message = message
        self.traceback = traceback

    @property
    def exception(self) -> str:
        return self.message

    @property
    def stacktrace(self) -> str:
        return self.traceback

    def __str__(self) -> str:
        return f"{self.type}: {self.message}"
