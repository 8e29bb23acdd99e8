"""An event loop without a clock on the wall: time moves when the world says so, and not before.

Shapes  One thread, one queue of callbacks in the order in which they were asked for, one heap of
        timers. `run_ready` runs what can run now; `advance` moves the time on in ticks, and after
        each tick runs what has come due. Nothing here depends on the machine's speed.
        A Life is one run of one simulated process. Whatever is started inside its context
        belongs to it, tasks and timers of its children included. A Life that has ended is
        never called again, as after kill -9: no `finally`, no `except`, no callback.
        Work for a thread runs in the loop, and its answer comes a callback later.
Units   microseconds since the history began; `time()` gives seconds, as asyncio asks for.
Errors  Livelock when callbacks keep making each other without time moving on.
"""

import asyncio
import contextvars
import heapq
import warnings
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")

CALLBACKS_MAX = 400_000  # without time moving on
TASKS_KEPT_MAX = 4_096  # before the finished ones are forgotten
CLOSINGS_MAX = 64  # of one coroutine that goes on after being told to end
MICROSECONDS = 1_000_000


class Livelock(Exception):  # noqa: N818 - named for what it is
    """Callbacks without end at one moment."""


@dataclass(eq=False)
class Life:
    """One run of one process. `fuse` counts its callbacks down to its death; 0 is none set."""

    name: str
    alive: bool = True
    fuse: int = 0
    when_over: list[Callable[[], None]] = field(default_factory=list)

    def end(self) -> None:
        """As kill -9: at once, and without a word to what runs inside."""
        if self.alive:
            self.alive = False
            for tell in self.when_over:
                tell()

    def may_run(self) -> bool:
        """Burn the fuse by one callback; False when it must not run any more."""
        if self.fuse:
            self.fuse -= 1
            if not self.fuse:
                self.end()
        return self.alive


LIFE: contextvars.ContextVar[Life | None] = contextvars.ContextVar("life", default=None)


class SimHandle:
    """A callback that waits for its turn, or for its moment: what asyncio takes for a handle."""

    __slots__ = ("args", "at", "callback", "context", "gone", "life")

    def __init__(
        self,
        at: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: contextvars.Context,
    ) -> None:
        self.at = at
        self.callback = callback
        self.args = args
        self.context = context
        self.gone = False
        self.life = context.get(LIFE)

    def cancel(self) -> None:
        self.gone = True

    def cancelled(self) -> bool:
        return self.gone

    def when(self) -> float:
        return self.at


class SimLoop(asyncio.AbstractEventLoop):
    def __init__(self) -> None:
        self.now_us = 0
        self.callbacks = 0
        self.failures: list[str] = []  # what left a callback, or a task nobody looked at
        self._ready: deque[SimHandle] = deque()
        self._timers: list[tuple[int, int, SimHandle]] = []
        self._count = 0
        self._tasks: list[tuple[asyncio.Task[Any], Life | None]] = []
        self._tasks_kept = TASKS_KEPT_MAX
        self._closing = False

    # ------------------------------------------------------------ what the world does

    def run_ready(self, limit: int = 0) -> int:
        """Run what can run at this moment, or `limit` callbacks of it; how many those were."""
        ready, ran = self._ready, 0
        most = limit or CALLBACKS_MAX
        with self._running():
            while ready:
                if ran == most:
                    if limit:
                        break
                    raise Livelock(f"{CALLBACKS_MAX} callbacks at one moment")
                ran += 1
                handle = ready.popleft()
                life = handle.life
                if handle.gone or (life is not None and not life.may_run()):
                    continue
                try:
                    handle.context.run(handle.callback, *handle.args)
                except Exception as error:  # noqa: BLE001 - a callback of nobody who could be told
                    told = {"message": "in a callback", "exception": error}
                    self.call_exception_handler(told)
        self.callbacks += ran
        # Only now that nothing is left to run: who waits for a task hears of its end a callback
        # after it, and has not asked before.
        if not ready and len(self._tasks) > self._tasks_kept:
            self.look_back()
            self._tasks_kept = 2 * len(self._tasks) + TASKS_KEPT_MAX
        return ran

    def advance(self, seconds: float, *, tick_seconds: float) -> None:
        """Move the time on, tick by tick; what comes due within a tick comes at its end."""
        end_us = self.now_us + int(seconds * MICROSECONDS)
        tick_us = max(1, int(tick_seconds * MICROSECONDS))
        self.run_ready()
        while self.now_us < end_us:
            self.now_us = min(end_us, self.now_us + tick_us)
            self._call_timers()
            self.run_ready()

    def spawn(
        self, life: Life | None, coroutine: Coroutine[Any, Any, T], *, name: str | None = None
    ) -> "asyncio.Task[T]":
        """Start something as part of a process, or of the world outside (None)."""
        context = contextvars.copy_context()
        context.run(LIFE.set, life)
        with self._running():
            return self.create_task(coroutine, name=name, context=context)

    def look_back(self) -> None:
        """Forget the tasks that are done; keep what they raised, if nobody has asked for it.

        Nobody can have asked where the process has died since.
        """
        going: list[tuple[asyncio.Task[Any], Life | None]] = []
        for task, life in self._tasks:
            if not task.done():
                going.append((task, life))
            elif task._log_traceback:  # noqa: SLF001 - nobody has asked
                task._log_traceback = False  # noqa: SLF001 - heard now
                if life is None or life.alive:
                    self.failures.append(f"in a task nobody waits for: {task.exception()!r}")
        self._tasks = going

    @staticmethod
    def outside(work: Callable[..., T], *args: Any) -> T:
        """Do something as the world itself, whoever asked for it."""
        context = contextvars.copy_context()
        context.run(LIFE.set, None)
        return context.run(work, *args)

    def dispose(self) -> None:
        """End everything that still waits, the dead included. Its last words change nothing."""
        self._closing = True
        with self._running(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            while self._tasks:
                tasks, self._tasks = self._tasks, []
                for task, _ in tasks:
                    _close(task)
            self._ready.clear()
            self._timers.clear()

    def _call_timers(self) -> None:
        timers = self._timers
        while timers and timers[0][0] <= self.now_us:
            handle = heapq.heappop(timers)[2]
            if not handle.gone:
                self._ready.append(handle)

    @contextmanager
    def _running(self) -> Generator[None]:
        before = events._get_running_loop()  # noqa: SLF001 - as every loop does
        events._set_running_loop(self)  # noqa: SLF001 - as above
        try:
            yield
        finally:
            events._set_running_loop(before)  # noqa: SLF001 - as above

    # ------------------------------------------------------------ what asyncio asks for

    def time(self) -> float:
        return self.now_us / MICROSECONDS

    def call_soon(  # type: ignore[override] # arguments are not typed one by one here
        self,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> SimHandle:
        handle = SimHandle(0.0, callback, args, context or contextvars.copy_context())
        if not self._closing:
            self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment] # there is one thread

    def call_at(  # type: ignore[override] # as above
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> SimHandle:
        handle = SimHandle(when, callback, args, context or contextvars.copy_context())
        when_us = round(when * MICROSECONDS)
        if self._closing:
            return handle
        if when_us <= self.now_us:
            self._ready.append(handle)
            return handle
        self._count += 1
        heapq.heappush(self._timers, (when_us, self._count, handle))
        return handle

    def call_later(  # type: ignore[override] # as above
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> SimHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override] # as above
        self,
        coro: Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
    ) -> "asyncio.Task[T]":
        task: asyncio.Task[T] = asyncio.Task(coro, loop=self, name=name, context=context)
        self._tasks.append((task, context.get(LIFE) if context is not None else LIFE.get()))
        return task

    def run_in_executor(  # type: ignore[override] # the answer is one future, not an awaitable
        self, executor: object, func: Callable[..., T], *args: Any
    ) -> "asyncio.Future[T]":
        del executor
        answer: asyncio.Future[T] = self.create_future()

        def work() -> None:
            if answer.done():
                return
            try:
                answer.set_result(func(*args))
            except Exception as error:  # noqa: BLE001 - it belongs to whoever waits
                answer.set_exception(error)

        self.call_soon(work)
        return answer

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not self._closing and not isinstance(error, asyncio.CancelledError):
            self.failures.append(f"{context.get('message')}: {error!r}")

    def is_running(self) -> bool:
        return events._get_running_loop() is self  # noqa: SLF001 - as every loop does

    def is_closed(self) -> bool:
        return self._closing

    def get_debug(self) -> bool:
        return False


def _close(task: "asyncio.Task[Any]") -> None:
    """Unwind a task's coroutine, as far as it lets itself be unwound, without its loop."""
    if task.done():
        task._log_traceback = False  # noqa: SLF001 - too late now
        return
    task._log_destroy_pending = False  # type: ignore[attr-defined] # noqa: SLF001 - it never ends
    coroutine = task.get_coro()
    for _ in range(CLOSINGS_MAX):
        try:
            coroutine.close()
        except BaseException:  # noqa: BLE001, S112 - whatever it says on its way out
            continue
        return


def new_loop() -> SimLoop:
    """Without sockets, signals and child processes: asking for one raises NotImplementedError."""
    return SimLoop()  # type: ignore[abstract] # see above
