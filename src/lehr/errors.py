"""Every error Lehr raises on purpose, each with the one status code that clients see.

LehrError
  + Refused                     the caller's mistake; the sentence says what, the value, what was possible, what to do
      x BadFormat               the body cannot be read at all
      x InvalidRequest          readable, but not allowed
          - InvalidModel        a model or version field
          - InvalidParams       hyperparameters; all problems at once
          - InvalidInput        an input's data
          - InvalidConcept, InvalidAnnotation, InvalidWorkflow, InvalidSearch, InvalidPrediction
      x Duplicate               the id is taken
      x NotFound                nothing of that id, or it is not yours
          - ModelNotFound, WorkflowNotFound
      x KeyInvalid, KeyNotFound, MissingScope
      x Untrained               the model has no trained version yet
      x CannotEvaluate          an evaluation that can have no result; NeedsInputs, NeedsLabels say what is missing
      x TooLarge
      x BadArchive              an archive that is damaged, of an unread kind, or larger inside than is accepted
      x NotImplementedHere      an RPC out of scope
  + UndecodableImage            bytes that are no picture or video we accept (30101 or 30002, told beside the item)
  + DownloadFailed              a URL that could not be fetched
  + Busy                        try again: the predictor is loading or the queue is full
  + CannotListen                the address or port is taken, not ours, or no address
  + TrainingStopped             a training ended for a reason that a person can act on
  + LeaseLost, Cancelled        a job's run must stop; nothing of it may be written any more
  + Interrupted                 this process must end: save what can be saved; the job goes back to the queue
  + WorkerDied                  the process that ran a job ended without a word
  + StoreUnusable               the database or blob store cannot be used as it is
"""

from __future__ import annotations

from collections.abc import Sequence


class LehrError(Exception):
    """Root. `details` is the sentence for the person; `code` the in-band status code; `http_status` its HTTP mirror."""

    code = 99009
    http_status = 500

    def __init__(self, details: str = "", *, code: int | None = None) -> None:
        super().__init__(details)
        self.details = details
        if code is not None:
            self.code = code


class Refused(LehrError):
    """The request cannot be served as it stands, and never will be."""

    code = 11102
    http_status = 400


class BadFormat(Refused):
    """The body is not what the route takes: broken JSON, a wrong type, an unreadable message."""

    code = 11100


class InvalidRequest(Refused):
    """Readable, but not allowed."""


class InvalidModel(InvalidRequest):
    """A field of a model or model version."""

    code = 21202


class InvalidParams(InvalidModel):
    """Hyperparameters: carries every problem found, one sentence each."""

    code = 21202

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


class InvalidInput(InvalidRequest):
    """An input's data or id."""

    code = 30104


class InvalidConcept(InvalidRequest):
    """A concept's id or name, or a duplicate one."""

    code = 40003


class InvalidAnnotation(InvalidRequest):
    """An annotation's data."""

    code = 24155


class InvalidWorkflow(InvalidRequest):
    """A workflow's graph or fields."""

    code = 22104


class InvalidSearch(InvalidRequest):
    """A search query."""

    code = 40002


class InvalidPrediction(InvalidRequest):
    """A prediction request as a whole."""

    code = 40001


class Duplicate(Refused):
    """Another resource has this id already."""

    code = 40010
    http_status = 409


class NotFound(Refused):
    """Nothing of that id, or it belongs to somebody else: the two are not told apart."""

    code = 11101
    http_status = 404


class ModelNotFound(NotFound):
    """No such model or model version."""

    code = 21200


class WorkflowNotFound(NotFound):
    """No such workflow or workflow version."""

    code = 22102


class KeyInvalid(Refused):
    """No key, a wrong key, or a key of another application."""

    code = 11008
    http_status = 401


class KeyNotFound(Refused):
    """No key under this handle."""

    code = 11009
    http_status = 404


class MissingScope(Refused):
    """The key is good but does not carry the scope that this call needs."""

    code = 11007
    http_status = 403


class Untrained(Refused):
    """The model has no trained version to answer with."""

    code = 21102


class CannotEvaluate(Refused):
    """An evaluation that can have no result as things stand."""

    code = 21317


class NeedsInputs(CannotEvaluate):
    """There is nothing to evaluate on."""

    code = 21316


class NeedsLabels(CannotEvaluate):
    """None of the items carries a concept of the model."""

    code = 21315


class TooLarge(Refused):
    """More bytes or pixels than are accepted."""

    code = 30105
    http_status = 413


class BadArchive(Refused):
    """An archive as a whole: damaged, of a kind that is not read, or with more inside than is accepted."""

    code = 67000


class NotImplementedHere(Refused):
    """An RPC of the public service that Lehr does not offer."""

    code = 10040
    http_status = 501


class UndecodableImage(LehrError):
    """The bytes are no picture or video of an accepted kind, or are damaged."""

    code = 30101
    http_status = 400


class DownloadFailed(LehrError):
    """A URL input that could not be fetched, or may not be."""

    code = 30002
    http_status = 400


class Busy(LehrError):
    """Try again later: published clients retry on this code."""

    code = 21354
    http_status = 503


class Loading(Busy):
    """A predictor is still starting or loading the model."""

    code = 21355


class CannotListen(LehrError):
    """The server cannot listen where it was asked to; the sentence says why and what to do."""


class TrainingStopped(LehrError):
    """A training that cannot go on, with the reason, what was found and what to do."""

    code = 21106


class NoTrainingData(TrainingStopped):
    """No usable item at all."""

    code = 21110


class NoPositives(TrainingStopped):
    """No concept of the model has a positive example."""

    code = 21111


class SingleClass(TrainingStopped):
    """Softmax over one concept is constant."""

    code = 21112


class TooManyBadItems(TrainingStopped):
    """More undecodable items than `invalid_data_tolerance_percent` allows."""

    code = 21119


class LeaseLost(LehrError):
    """Another worker holds this job now: stop, and write nothing more."""


class Cancelled(LehrError):
    """The job was cancelled: stop, and write nothing more."""


class Interrupted(LehrError):
    """This process was asked to end: save what can be saved, then let this pass. The job goes back to the queue."""


class WorkerDied(LehrError):
    """The process that ran a job ended without finishing it."""

    code = 21116


class StoreUnusable(LehrError):
    """The database or the blob store cannot be used as it is: a newer schema, an unknown kind of URL."""
