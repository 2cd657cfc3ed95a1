"""What handlers are given besides their message: made when needed, by name, and closed in reverse order.

A factory is a function, a coroutine function, a generator or async generator that yields once, or one of those made a
context manager by `contextlib`. Its parameters are other resources, or have defaults. Knows nothing of handlers.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from types import TracebackType
from typing import Any, Final

from leveret.errors import ConfigError

WORKER: Final = "worker"
JOB: Final = "job"
SCOPES: Final = (WORKER, JOB)

Make = Callable[[AsyncExitStack, dict[str, Any]], Awaitable[Any]]


class _Resource:
    """A declared one: how it is made, and what of."""

    __slots__ = ("make", "name", "needs", "scope")

    def __init__(self, name: str, scope: str, needs: tuple[str, ...], make: Make) -> None:
        self.name = name
        self.scope = scope
        self.needs = needs
        self.make = make


class Resources:
    """Declared resources, and the open ones of this process.

    What a resource needs is declared before it; so what is missing is found where it is written, and none can need
    itself. One of scope `worker` cannot need one of scope `job`.
    """

    def __init__(self) -> None:
        self._declared: dict[str, _Resource] = {}
        self._open: dict[str, Any] = {}
        self._stacks: list[AsyncExitStack] = []  # one a resource: none is closed with the error of another
        self._plans: dict[tuple[str, ...], tuple[_Resource, ...]] = {}

    # ---- declaring

    def add(self, factory: Callable[..., Any], name: str | None = None, scope: str = WORKER) -> None:
        """Declare a resource, by default under its factory's name. Raises ConfigError."""
        made = self._read(factory, name, scope)
        if made.name in self._declared:
            raise ConfigError(f"there are two resources {made.name!r}: give one of them another name")
        self._declared[made.name] = made
        self._plans.clear()

    @contextmanager
    def override(self, name: str, factory: Callable[..., Any]) -> Iterator[None]:
        """Have `factory` make a resource instead, for a test, while the context lasts and it is not yet open."""
        before = self._found(name)
        if name in self._open:
            raise ConfigError(f"the resource {name!r} is open already: override it before the worker starts")
        self._declared[name] = self._read(factory, name, before.scope)
        self._plans.clear()
        try:
            yield
        finally:
            self._declared[name] = before
            self._plans.clear()

    def _read(self, factory: Callable[..., Any], name: str | None, scope: str) -> _Resource:
        if not callable(factory):
            raise ConfigError(f"a resource is made by a function, not by {factory!r}")
        called = name if name is not None else str(getattr(factory, "__name__", ""))
        if not called.isidentifier():
            raise ConfigError(f"{called!r} cannot be a resource's name: handlers have it as a parameter")
        if scope not in SCOPES:
            raise ConfigError(f"resource {called!r}: there is no scope {scope!r}; it is 'worker' or 'job'")
        needs: list[str] = []
        for parameter in inspect.signature(factory).parameters.values():
            if parameter.name in self._declared and parameter.name != called:
                needs.append(parameter.name)
            elif parameter.default is parameter.empty and parameter.kind not in (
                parameter.VAR_POSITIONAL,
                parameter.VAR_KEYWORD,
            ):
                raise ConfigError(self._missing(called, parameter.name))
        for need in needs:
            if scope == WORKER and self._declared[need].scope == JOB:
                raise ConfigError(
                    f"resource {called!r} lasts as long as the worker, and needs {need!r}, which is made for each job:"
                    f" give {called!r} the scope 'job'"
                )
            if called in self._with_needs([need]):
                raise ConfigError(f"resource {called!r} needs {need!r}, which needs {called!r}")
        return _Resource(called, scope, tuple(needs), _maker(factory))

    def _missing(self, name: str, need: str) -> str:
        if need == name:
            return f"resource {name!r} needs itself: rename the parameter"
        near = difflib.get_close_matches(need, self._declared, n=1)
        hint = (
            f": did you mean {near[0]!r}?" if near else ": declare it above, or give the parameter a default"
        )
        return f"resource {name!r} needs {need!r}, and there is no resource of that name{hint}"

    def _found(self, name: str) -> _Resource:
        found = self._declared.get(name)
        if found is None:
            near = difflib.get_close_matches(name, self._declared, n=1)
            hint = (
                f"did you mean {near[0]!r}?" if near else f"there are {', '.join(self._declared) or 'none'}"
            )
            raise ConfigError(f"there is no resource {name!r}; {hint}")
        return found

    def __contains__(self, name: str) -> bool:
        return name in self._declared

    def names(self) -> Sequence[str]:
        return tuple(self._declared)

    def scope_of(self, name: str) -> str:
        """`worker` or `job`. Raises ConfigError."""
        return self._found(name).scope

    def _with_needs(self, names: Iterable[str]) -> dict[str, _Resource]:
        """Those and what they need, each behind what it needs."""
        found: dict[str, _Resource] = {}

        def visit(name: str) -> None:
            if name not in found:
                resource = self._found(name)
                for need in resource.needs:
                    visit(need)
                found[name] = resource

        for name in names:
            visit(name)
        return found

    # ---- those of the worker

    async def open(self, names: Iterable[str] | None = None) -> None:
        """Make those of scope `worker` among `names` (None: all) and among what they need, unless they are there.

        Raises what a factory raises, with a note that names the resource; what was made before it stays open.
        """
        for name, resource in self._with_needs(self._declared if names is None else names).items():
            if resource.scope == WORKER and name not in self._open:
                stack = AsyncExitStack()
                self._open[name] = await _made(resource, stack, self._open)
                self._stacks.append(stack)

    def get(self, name: str) -> Any:
        """One of scope `worker` that is open. Raises ConfigError."""
        try:
            return self._open[name]
        except KeyError:
            self._found(name)
            raise ConfigError(f"the resource {name!r} is not open") from None

    async def close(self) -> None:
        """Close all, the last one first. If some fail, all others are closed; then it raises what the first raised."""
        stacks, self._stacks, self._open = self._stacks, [], {}
        failed: BaseException | None = None
        for stack in reversed(stacks):
            try:
                await stack.aclose()
            except Exception as error:
                failed = failed or error
        if failed is not None:
            raise failed

    # ---- those of a job

    def for_job(self, names: Iterable[str]) -> JobResources:
        """A context with the values of `names`, of both scopes. Those of scope `job` are closed at its end."""
        key = tuple(names)
        plan = self._plans.get(key)
        if plan is None:
            plan = tuple(one for one in self._with_needs(key).values() if one.scope == JOB)
            self._plans[key] = plan
        return JobResources(self, key, plan)


class JobResources:
    """What one job is given. An exception of the job is thrown into the generators, and goes on whatever they do with it."""

    def __init__(self, resources: Resources, names: tuple[str, ...], plan: tuple[_Resource, ...]) -> None:
        self._resources = resources
        self._names = names
        self._plan = plan
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> dict[str, Any]:
        made: dict[str, Any] = {}
        try:
            for resource in self._plan:
                for need in resource.needs:
                    if need not in made:
                        made[need] = self._resources.get(need)
                made[resource.name] = await _made(resource, self._stack, made)
        except BaseException:
            await self._stack.aclose()
            raise
        return {name: made[name] if name in made else self._resources.get(name) for name in self._names}

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        await self._stack.__aexit__(kind, error, traceback)
        return False  # a generator that swallows the exception of a job does not make it a success


async def _made(resource: _Resource, stack: AsyncExitStack, values: dict[str, Any]) -> Any:
    try:
        return await resource.make(stack, {need: values[need] for need in resource.needs})
    except Exception as error:
        error.add_note(f"when the resource {resource.name!r} was made")
        raise


def _maker(factory: Callable[..., Any]) -> Make:
    """How a factory's value is made, and its end entered into a stack."""
    inner = getattr(factory, "__wrapped__", None)
    if inspect.isasyncgenfunction(factory):
        return _entering_async(asynccontextmanager(factory))
    if inspect.isgeneratorfunction(factory):
        return _entering(contextmanager(factory))
    if inner is not None and inspect.isasyncgenfunction(inner):
        return _entering_async(factory)
    if inner is not None and inspect.isgeneratorfunction(inner):
        return _entering(factory)

    async def call(stack: AsyncExitStack, needs: dict[str, Any]) -> Any:
        value = factory(**needs)
        return await value if inspect.isawaitable(value) else value

    return call


def _entering(factory: Callable[..., Any]) -> Make:
    async def enter(stack: AsyncExitStack, needs: dict[str, Any]) -> Any:
        return stack.enter_context(factory(**needs))

    return enter


def _entering_async(factory: Callable[..., Any]) -> Make:
    async def enter(stack: AsyncExitStack, needs: dict[str, Any]) -> Any:
        return await stack.enter_async_context(factory(**needs))

    return enter
