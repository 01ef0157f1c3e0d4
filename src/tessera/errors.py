"""Every error of the service and its commands.

    TesseraError
    ├── RequestError            400  invalid_request_error
    │   ├── UnsupportedParameter     400  unsupported_parameter
    │   ├── InvalidSchema            400  invalid_schema
    │   ├── ContextLengthExceeded    413  context_length_exceeded
    │   ├── BodyTimeout              408  body_timeout
    │   ├── BodyTooLarge             413  request_too_large
    │   ├── UnsupportedMediaType     415  unsupported_media_type
    │   ├── ModelNotFound            404  model_not_found
    │   ├── EndpointNotFound         404  not_found
    │   ├── MethodNotAllowed         405  method_not_allowed
    │   └── OperatorError            400  of a command or the admin API, never of /v1
    │       └── NotThere 404 · NameTaken 409
    ├── AuthenticationError     401  authentication_error
    │   └── InvalidApiKey            401  invalid_request_error / invalid_api_key
    ├── PermissionDenied        403  permission_error
    │   └── RequestCancelled         403  request_cancelled
    ├── LimitExceeded           429  rate_limit_error
    │   └── RateLimited · TooManyConcurrent (TooManyChoices) · QuotaExhausted · BudgetExhausted · TooManyBytes
    ├── StoreUnavailable        503  api_error
    ├── EngineError             502  api_error
    │   ├── GenerationFailed         502  api_error
    │   │   ├── GrammarFailed (GrammarTooSlow) 422  invalid_request_error
    │   │   └── SchemaNotMet             422  invalid_request_error / schema_not_met
    │   ├── EngineUnavailable        503  overloaded_error
    │   ├── EngineOverloaded         503  overloaded_error
    │   └── EngineTimeout            504  api_error
    ├── StartupError            the service cannot start; never seen by a client
    ├── ModelError              a model cannot be fetched, converted or read; never seen by a client
    ├── CommandError            a command cannot do its work; never seen by a client
    └── (anything else)         500  a bug: logged with the request id, message not shown

Before the first byte an error becomes the HTTP status; after it, one `data: {"error": …}` and the end of the
stream. This module uses no HTTP library: its plain values are turned into responses in one place.
"""

from typing import ClassVar, Literal

ErrorType = Literal[
    "invalid_request_error",
    "authentication_error",
    "permission_error",
    "rate_limit_error",
    "api_error",
    "overloaded_error",
]


class TesseraError(Exception):
    """The root. `message` says what was wrong, where, and what to send instead; `param` names the field."""

    status: ClassVar[int] = 500
    type: ClassVar[ErrorType] = "api_error"
    default_code: ClassVar[str | None] = None
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code or self.default_code
        self.retry_after_s = retry_after_s


class RequestError(TesseraError):
    """The request is malformed, incomplete or out of range: send what the message says."""

    status = 400
    type = "invalid_request_error"
    default_code = "invalid_value"


class UnsupportedParameter(RequestError):
    """The field, or its value, is not something this service or this engine can honour: leave it out."""

    default_code = "unsupported_parameter"


class InvalidSchema(RequestError):
    """A JSON Schema that cannot be enforced; the message holds the JSON pointer and the keyword."""

    default_code = "invalid_schema"


class ContextLengthExceeded(RequestError):
    """The prompt is longer than the caller's context: send less; the message names both numbers."""

    status = 413
    default_code = "context_length_exceeded"


class BodyTimeout(RequestError):
    """The body did not arrive in time: send the request again."""

    status = 408
    default_code = "body_timeout"
    retryable = True


class BodyTooLarge(RequestError):
    """The body is larger than the limit: send less."""

    status = 413
    default_code = "request_too_large"


class UnsupportedMediaType(RequestError):
    """The body is not uncompressed `application/json`: set the header and do not encode the body."""

    status = 415
    default_code = "unsupported_media_type"


class ModelNotFound(RequestError):
    """The model does not exist: list the models with GET /v1/models."""

    status = 404
    default_code = "model_not_found"


class EndpointNotFound(RequestError):
    """The path does not exist."""

    status = 404
    default_code = "not_found"


class MethodNotAllowed(RequestError):
    """The path exists, but not with this method."""

    status = 405
    default_code = "method_not_allowed"


class AuthenticationError(TesseraError):
    """No key was sent: send `Authorization: Bearer sk-tessera-…`."""

    status = 401
    type = "authentication_error"
    default_code = "missing_api_key"


class InvalidApiKey(AuthenticationError):
    """A key was sent, but it is not valid."""

    type = "invalid_request_error"
    default_code = "invalid_api_key"


class PermissionDenied(TesseraError):
    """The key is valid, but may not use this model or feature."""

    status = 403
    type = "permission_error"
    default_code = "permission_denied"


class RequestCancelled(PermissionDenied):
    """The operator of the server has ended this request: ask the operator before you send it again."""

    default_code = "request_cancelled"


class LimitExceeded(TesseraError):
    """A limit of the tier is reached: wait `retry_after_s` and send the request again."""

    status = 429
    type = "rate_limit_error"
    default_code = "rate_limit_exceeded"
    retryable = True


class RateLimited(LimitExceeded):
    """Too many requests in the window."""


class TooManyConcurrent(LimitExceeded):
    """Too many choices at once: wait for a request to end."""

    default_code = "concurrency_limit_exceeded"


class TooManyChoices(TooManyConcurrent):
    """The request alone has more choices than may ever run at once: send a smaller `n`."""

    retryable = False


class TooManyBytes(LimitExceeded):
    """The account sends too many or too large bodies at once: wait until one has been read."""

    default_code = "body_limit_exceeded"


class QuotaExhausted(LimitExceeded):
    """The day's reasoning tokens are used up: use direct mode, or wait until tomorrow."""

    default_code = "thinking_quota_exceeded"


class BudgetExhausted(LimitExceeded):
    """A budget of tokens of the account or the key is used up: wait until its next day or month begins."""

    default_code = "quota_exceeded"


class StoreUnavailable(TesseraError):
    """The store of accounts, keys and usage is unavailable. This says nothing about the key: try again."""

    reason: str | None = None
    """The store's own message, for the operator only."""

    status = 503
    default_code = "store_unavailable"
    retryable = True


class EngineError(TesseraError):
    """The engine failed."""

    status = 502
    default_code = "engine_error"
    retryable = True


class GenerationFailed(EngineError):
    """This generation failed inside the engine; others continue."""

    default_code = "generation_failed"


class GrammarFailed(GenerationFailed):
    """A grammar or schema was too expensive during the reply, and would be again: send a simpler schema."""

    status = 422
    type = "invalid_request_error"
    default_code = "grammar_failed"
    retryable = False


class GrammarTooSlow(GrammarFailed):
    """Following the request's tools and schema takes too much processor time: simplify their patterns."""

    default_code = "grammar_too_slow"


class SchemaNotMet(GenerationFailed):
    """The reply breaks a rule that no grammar can enforce and only the final validation checks.

    Nothing makes the model follow that rule the next time: change it, or state it in the prompt.
    """

    status = 422
    type = "invalid_request_error"
    default_code = "schema_not_met"
    retryable = False


class EngineUnavailable(EngineError):
    """The engine is starting or restarting, or the server is shutting down: try again."""

    status = 503
    type = "overloaded_error"
    default_code = "engine_unavailable"


class EngineOverloaded(EngineError):
    """The queue is full. Try again after `retry_after_s`."""

    status = 503
    type = "overloaded_error"
    default_code = "engine_overloaded"


class EngineTimeout(EngineError):
    """The request's deadline has passed: ask for less, or try again when the load is lower."""

    status = 504
    default_code = "engine_timeout"


class OperatorError(RequestError):
    """An operator's command or request to the admin API cannot be carried out."""


class NotThere(OperatorError):
    """The account or key, as the code says, does not exist: list them."""

    status = 404


class NameTaken(OperatorError):
    """An account of that name exists already: choose another name."""

    status = 409
    default_code = "name_taken"


class ModelError(TesseraError):
    """A model cannot be fetched, converted or read: fix what the message names."""


class StartupError(TesseraError):
    """The service cannot start, for example because of an invalid setting: fix what the message names."""


class CommandError(TesseraError):
    """A command cannot do its work, and has changed nothing: do what the message asks for."""
