"""What one operation of the HTTP API takes and gives, declared at its handler; its route is made of the same."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sage_gateway.query_parameters import QueryParameter, refuse_unknown

Schema = dict[str, Any]
H = TypeVar("H", bound=Callable[..., Awaitable[Response]])
Answering = Callable[[Request], Awaitable[Response]]

_DECLARED = "declared_operations"
TEXT: Schema = {"type": "string"}
BINARY: Schema = {"type": "string", "format": "binary"}


class Access(Enum):
    """Who may ask, once API keys are set."""

    OPEN = "anybody"
    CALLER = "holders of a key"
    OPERATOR = "operators"


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path.

    Attributes:
        path: as Starlette writes it.
        answer: type of the JSON answer; None for none.
        status: of an answer that is no error.
        others: further statuses of such answers, of the same type.
        body: type of the JSON body; None for none.
        body_optional: whether the body may be left out.
        raw_body: schemas of bodies that are no JSON, by media type.
        events: type of what each event of a stream holds; None where no stream is given.
        raw_answer: schemas of answers that are no JSON, by media type.
        query: parameters of the query; any other is refused. None where all are left aside.
        headers: names of request headers that it reads, with their schema.
        passed_on: fields of the body that are the engine's to judge.
        refused: fields of the body that its API has and that are refused, and why.
        is_inference: whether the numbers of its body are held to the ranges of inference.
        anthropic: whether errors are in Anthropic's shape.
    """

    method: str
    path: str
    summary: str
    answer: Any = None
    status: int = 200
    others: tuple[int, ...] = ()
    body: Any = None
    body_optional: bool = False
    raw_body: Mapping[str, Schema] = field(default_factory=dict)
    events: Any = None
    raw_answer: Mapping[str, Schema] = field(default_factory=dict)
    query: tuple[QueryParameter, ...] | None = ()
    headers: Mapping[str, Schema] = field(default_factory=dict)
    access: Access = Access.CALLER
    passed_on: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    is_inference: bool = False
    anthropic: bool = False


def operation(method: str, path: str, summary: str, **declared: Any) -> Callable[[H], H]:
    """Declare what a handler does; it may be declared for several paths. Fields are those of ``Operation``."""
    made = Operation(method, path, summary, **declared)

    def declare(handler: H) -> H:
        setattr(handler, _DECLARED, (made, *getattr(handler, _DECLARED, ())))
        return handler

    return declare


def operations_of(kind: type) -> list[Operation]:
    """Return what the handlers of a class declare, in their order."""
    return [one for member in vars(kind).values() for one in getattr(member, _DECLARED, ())]


def routes_of(handlers: object) -> list[Route]:
    """Return the routes of what the handlers of an object declare."""
    members = vars(type(handlers)).items()
    return routes_from(
        (one, getattr(handlers, name)) for name, member in members for one in getattr(member, _DECLARED, ())
    )


def routes_from(handlers: Iterable[tuple[Operation, Answering]]) -> list[Route]:
    """Return a route for each path, which answers the methods that there are operations for."""
    by_path: dict[str, dict[str, Answering]] = {}
    for declared, handler in handlers:
        by_path.setdefault(declared.path, {})[declared.method] = _checking(declared, handler)
    return [Route(path, _choosing(methods), methods=list(methods)) for path, methods in by_path.items()]


def _checking(declared: Operation, handler: Answering) -> Answering:
    async def checked(request: Request) -> Response:
        refuse_unknown(request, declared.query)
        return await handler(request)

    return checked


def _choosing(methods: Mapping[str, Answering]) -> Answering:
    async def chosen(request: Request) -> Response:
        return await methods["GET" if request.method == "HEAD" else request.method](request)

    return chosen
