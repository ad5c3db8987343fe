"""Environments that are slow step in other processes, so that their steps overlap.

    factories = [partial(AlfworldEnv, game, engine="textworld") for game in games]
    with processes(factories, workers=8) as environments:  # or ray_actors(factories, workers=8)
        episodes = rollout.collect(policy, environments, ...)

An environment is made by its factory, in the worker, when it is first reset. What comes back here is a handle: a
`TextEnv` that can also start a step now and give its result later, which `rollout.collect` uses. This module imports
no torch: each worker imports it and what the factories need, nothing else.

Workers are started with "spawn": a script needs `if __name__ == "__main__":` around what it does.
"""

from __future__ import annotations

import pickle
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection, get_context, process
from typing import Any, Protocol

from encore.environments import StepResult, TextEnv
from encore.errors import UserError

Factory = Callable[[], TextEnv]


class WorkerDied(RuntimeError):
    """The process that held an environment is gone."""


@dataclass(frozen=True)
class Seen:
    """What a reset or a step gave, and what the environment shows after it; errors travel as values."""

    result: Any  # the observation of a reset, else a StepResult; an Exception if the environment raised
    admissible: Any = ()  # an Exception if asking for it raised
    anchor: str | None = None


class Host:
    """The environments of one worker."""

    def __init__(self) -> None:
        self.factories: dict[int, Factory] = {}
        self.environments: dict[int, TextEnv] = {}

    def answer(self, place: int, factory: Factory | None, action: str | None) -> Seen:
        """Takes a step in environment `place`; action None resets it. Its factory comes with the first question."""
        if factory is not None:
            self.factories[place] = factory
        try:
            if place not in self.environments:  # its first reset, or the factory has failed before
                self.environments[place] = self.factories[place]()
            environment = self.environments[place]
            result = environment.reset() if action is None else environment.step(action)
        except Exception as error:  # the environment's failure is its own episode's end, on the other side
            return Seen(_portable(error))
        try:
            # A new list: the environment may change its own while this one is on its way. A rule is sent as it is.
            admissible = environment.admissible
            admissible = list(admissible) if type(admissible) is list else admissible
            return Seen(result, admissible, getattr(environment, "anchor", None))
        except Exception as error:  # as above; it counts only if somebody asks
            return Seen(result, _portable(error))


class Worker(Protocol):
    """One process that holds environments and answers in the order in which it was asked."""

    @property
    def alive(self) -> bool: ...

    def ask(self, place: int, factory: Factory | None, action: str | None) -> Future[Seen]:
        """As `Host.answer`. The future fails with WorkerDied if the process is gone."""


class RemoteEnv:
    """A `TextEnv` whose environment lives in a worker. At most one reset or step is under way."""

    def __init__(self, place: int, factory: Factory, workers: Sequence[Worker]) -> None:
        self._place, self._factory, self._workers = place, factory, workers
        self._worker: Worker | None = None
        self._seen = Seen("")

    def start_reset(self) -> Future[str]:
        """Begins to reset the environment; the future gives its first observation, or raises what it raised."""
        factory = None
        if self._worker is None or not self._worker.alive:
            living = [worker for worker in self._workers if worker.alive]
            if not living:
                return _failed(WorkerDied("no worker of the pool is left"))
            self._worker, factory = living[self._place % len(living)], self._factory
        return self._then(self._worker.ask(self._place, factory, None))

    def start_step(self, action: str) -> Future[StepResult]:
        """Begins a step; the future gives its result, or raises what the environment raised."""
        if self._worker is None:
            return _failed(RuntimeError("a step before the first reset"))
        return self._then(self._worker.ask(self._place, None, action))

    def reset(self) -> str:
        return self.start_reset().result()

    def step(self, action: str) -> StepResult:
        return self.start_step(action).result()

    @property
    def admissible(self) -> list[str]:
        if isinstance(self._seen.admissible, Exception):
            raise self._seen.admissible
        return self._seen.admissible

    @property
    def anchor(self) -> str | None:
        """The environment's own anchor; None if it has none."""
        return self._seen.anchor

    def _then(self, answer: Future[Seen]) -> Future[Any]:
        """A future that is done only when this handle shows what the answer brought."""
        shown: Future[Any] = Future()

        def show(answered: Future[Seen]) -> None:
            error = answered.exception()
            if error is None:
                self._seen = answered.result()
                error = self._seen.result if isinstance(self._seen.result, Exception) else None
            if error is None:
                shown.set_result(self._seen.result)
            else:
                shown.set_exception(error)

        answer.add_done_callback(show)
        return shown


class ProcessWorker:
    """A worker process of this machine, asked through a pipe; a thread takes its answers in."""

    def __init__(self, number: int) -> None:
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), name=f"environments-{number}", daemon=True)
        self._process.start()
        theirs.close()  # else this process would hold the pipe open after the worker's death
        self._open: list[Future[Seen]] = []  # in the order of the questions
        self._lock = threading.Lock()
        self.alive = True
        self._reader = threading.Thread(target=self._read, name=f"environments-{number}", daemon=True)
        self._reader.start()

    def ask(self, place: int, factory: Factory | None, action: str | None) -> Future[Seen]:
        answer: Future[Seen] = Future()
        try:
            question = pickle.dumps((place, factory, action))
        except (pickle.PicklingError, TypeError, AttributeError) as error:  # the three that pickle raises
            return _failed(TypeError(f"an environment's factory cannot be sent to a process: {error}"))
        with self._lock:
            if not self.alive:
                return _failed(self._death())
            self._open.append(answer)
        with suppress(OSError):  # a dead process: the reader sees the same, and fails everything that is open
            self._pipe.send_bytes(question)
        return answer

    def close(self) -> None:
        """Ends the process, whatever it does."""
        self._process.terminate()
        self._process.join(5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._reader.join()

    def _read(self) -> None:
        while True:
            try:
                seen = pickle.loads(self._pipe.recv_bytes())
            except (EOFError, OSError):
                break
            except Exception as error:  # what an environment sends may fail to unpickle in any way; the pipe goes on
                seen = Seen(TypeError(f"an environment's answer cannot be read here: {error}"))
            with self._lock:
                answer = self._open.pop(0)
            answer.set_result(seen)
        self._process.join(5)
        with self._lock:
            self.alive = False
            lost, self._open = self._open, []
        for answer in lost:
            answer.set_exception(self._death())

    def _death(self) -> WorkerDied:
        return WorkerDied(f"the process of {self._process.name} ended (exit code {self._process.exitcode})")


def _serve(pipe: connection.Connection) -> None:
    """The worker process: answers until the other end closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which then ends this process
    host = Host()
    while True:
        try:
            question = pipe.recv_bytes()
        except EOFError:
            return
        try:
            seen = host.answer(*pickle.loads(question))
        except Exception as error:  # a factory that this process cannot import is that environment's failure
            seen = Seen(_portable(error))
        try:
            answer = pickle.dumps(seen)
        except Exception as error:  # objects may refuse to be pickled in any way
            answer = pickle.dumps(Seen(TypeError(f"an environment's answer cannot be sent: {error}")))
        pipe.send_bytes(answer)


class RayWorker:
    """A Ray actor, on whatever machine of the cluster has the resources."""

    def __init__(self, number: int, resources: dict[str, Any]) -> None:
        import ray

        self._number, self._ray = number, ray
        actor: Any = ray.remote(**resources)(Host) if resources else ray.remote(Host)
        self._actor: Any = actor.remote()
        self.alive = True

    def ask(self, place: int, factory: Factory | None, action: str | None) -> Future[Seen]:
        answer: Future[Seen] = Future()

        def take(asked: Future[Seen]) -> None:
            error = asked.exception()
            if error is None:
                answer.set_result(asked.result())
                return
            if isinstance(error, self._ray.exceptions.RayActorError):
                self.alive = False
                error = WorkerDied(f"the Ray actor of environments-{self._number} died ({type(error).__name__})")
            answer.set_exception(error)

        self._actor.answer.remote(place, factory, action).future().add_done_callback(take)
        return answer

    def close(self) -> None:
        """Ends the actor, whatever it does."""
        self._ray.kill(self._actor)


@contextmanager
def processes(factories: Sequence[Factory], workers: int) -> Iterator[list[RemoteEnv]]:
    """Handles of the environments that `factories` make, in `workers` processes of this machine; ends them after.

    Factories are pickled: functions of a module or `functools.partial` of them, not lambdas. If a process dies, the
    episodes that it was playing fail with WorkerDied, and environments that are reset later go to another one.
    Raises UserError for a number of workers below 1.
    """
    _check(workers)
    if process.current_process().daemon:
        raise UserError("a worker process cannot have workers of its own: make the pool in the main process")
    held = [ProcessWorker(number) for number in range(min(workers, len(factories)))]
    try:
        yield [RemoteEnv(place, factory, held) for place, factory in enumerate(factories)]
    finally:
        for worker in held:
            worker.close()


@contextmanager
def ray_actors(factories: Sequence[Factory], workers: int, **resources: Any) -> Iterator[list[RemoteEnv]]:
    """As `processes`, in Ray actors; `resources` are what `ray.remote` takes, for example `num_cpus=0.5`.

    Uses the running Ray, or starts one on this machine. Raises UserError if Ray is not installed.
    """
    _check(workers)
    try:
        import ray  # noqa: F401  (an optional package)
    except ImportError as error:
        raise UserError("Ray is not installed: pip install 'encore[ray]', or use a pool of processes") from error
    actors = [RayWorker(number, resources) for number in range(min(workers, len(factories)))]
    try:
        yield [RemoteEnv(place, factory, actors) for place, factory in enumerate(factories)]
    finally:
        for actor in actors:
            actor.close()


def _check(workers: int) -> None:
    if workers < 1:
        raise UserError(f"a pool of {workers} workers steps no environment: give at least 1")


def _failed(error: Exception) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_exception(error)
    return future


def _portable(error: Exception) -> Exception:
    """The error itself if it survives the way to another process, else one with its name and words."""
    try:
        if type(pickle.loads(pickle.dumps(error))) is type(error):
            return error
    except Exception:  # an exception's own constructor decides what its unpickling raises
        pass
    return RuntimeError(f"{type(error).__name__}: {error}")
