"""Choosing a backend for a model and loading it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sage_common.errors import ConfigurationError, InternalError, SageError
from sage_common.logging import get_logger
from sage_embed_executor.backends.backend import EmbeddingBackend, Precision, Runtime
from sage_embed_executor.backends.registry import AUTO, BACKENDS, load_backend, load_for_bulk, no_backend, problem_with
from sage_embed_executor.child_process import ChildRunner
from sage_embed_executor.exports.export_cache import EXPORT_FAILED
from sage_embed_executor.exports.fingerprint import model_fingerprint
from sage_embed_executor.models.model_folder import ModelFolder
from sage_embed_executor.selection.candidates import Candidate, Selection, Trial, candidates, choose, outpaced
from sage_embed_executor.selection.selection_cache import read_selection, selection_path, write_selection
from sage_embed_executor.selection.throughput import BUDGETS

log = get_logger(__name__)

# Includes an export.
TRIAL_SECONDS = 900.0
DEFAULT_TOKEN_BUDGET = 512
_CHILD = "sage_embed_executor.selection.trial_child"


@dataclass(frozen=True, slots=True)
class BackendPreference:
    """What the settings say.

    Attributes:
        backend: a backend's name, or ``auto``.
        precision: a precision's name, or ``auto``.
        token_budget: most tokens in a batch, with padding; 0 to measure the best.
    """

    backend: str = AUTO
    precision: str = AUTO
    device: str = "cpu"
    streams: int = 1
    threads: int = 1
    token_budget: int = 0

    def runtime(self, precision: Precision, children: ChildRunner) -> Runtime:
        """How a candidate of this precision is to run."""
        return Runtime(precision, self.streams, self.threads, self.device, children)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model in its backend, and how that came to be taken.

    Attributes:
        bulk_backend: for bulk work; None where ``backend`` computes on the calling thread, at its priority.
    """

    backend: EmbeddingBackend
    bulk_backend: EmbeddingBackend | None
    selection: Selection


def select_and_load(folder: ModelFolder, wish: BackendPreference, children: ChildRunner) -> Loaded:
    """Load a model as the settings wish: what they leave open is measured, or read from an earlier start. Blocks.

    Where the choice was left to us, or a full disk is in the way of an export, a model whose backend fails is served by
    torch in fp32, with a warning.

    Raises:
        ConfigurationError: nothing that is installed and allowed can run the model, or passes the quality gate.
        UnavailableError: ``children`` were told to end.
    """
    try:
        selection = select(folder, wish, children)
        return _load(selection, folder, wish, children)
    except (ConfigurationError, InternalError) as error:
        if wish.precision not in (AUTO, Precision.FP32.value) and error.code != EXPORT_FAILED:
            raise
        if wish.backend != AUTO and error.code != EXPORT_FAILED:
            raise
        problem: SageError = error
    for candidate in references():
        try:
            loaded = _load(Selection(candidate, wish.token_budget or DEFAULT_TOKEN_BUDGET), folder, wish, children)
        except ConfigurationError as error:
            log.warning("the model cannot be loaded", by=str(candidate), error=error.message)
            continue
        log.warning("serving the model in another way than chosen", by=str(candidate), instead_of=problem.message)
        return loaded
    raise problem


def select(folder: ModelFolder, wish: BackendPreference, children: ChildRunner) -> Selection:
    """Say what is to run a model. Raises as ``select_and_load`` does."""
    found, problems = candidates(wish.backend, wish.precision)
    if not found:
        extras = [entry.extra for name, entry in BACKENDS.items() if wish.backend in (AUTO, name)]
        raise no_backend(folder, problems, extras)
    fast = [candidate for candidate in found if not BACKENDS[candidate.backend].library] or found
    if len(fast) == 1 and fast[0] in references():
        # Nothing to compare, and nothing to compare it with.
        return Selection(fast[0], wish.token_budget or DEFAULT_TOKEN_BUDGET)
    path = selection_path(model_fingerprint(folder.path), repr(wish))
    stored = read_selection(path)
    if stored is not None and stored.candidate in found:
        return stored
    trials = _try_all(folder, wish, found, children)
    for trial in trials:
        log.info("tried", result=str(trial), token_budget=trial.token_budget, memory_mb=trial.memory_mb)
    best = choose(trials)
    if best is None:
        raise ConfigurationError(
            f"no backend that is installed runs the model in {folder.path} as set (backend {wish.backend}, precision "
            f"{wish.precision}): {'; '.join(map(str, trials))}. SAGE_EMBED_EXECUTOR_PRECISION=fp32 asks for no "
            "reduced precision",
            code=EXPORT_FAILED if any(trial.disk for trial in trials) else "no_backend",
        )
    selection = Selection(
        best.candidate,
        wish.token_budget or best.token_budget,
        best.tokens_per_second,
        best.cosine,
        best.memory_mb,
        measured=True,
        trials=tuple(trials),
    )
    # What a full disk, or another process, kept from being tried deserves another chance.
    if not any(trial.passing for trial in trials):
        write_selection(path, selection)
    return selection


def references() -> list[Candidate]:
    """What needs no export and defines the vectors: torch in fp32, as far as it is installed."""
    return [
        Candidate(name, Precision.FP32)
        for name, entry in BACKENDS.items()
        if entry.reference and not problem_with(name, Precision.FP32)
    ]


def _try_all(
    folder: ModelFolder, wish: BackendPreference, found: list[Candidate], children: ChildRunner
) -> list[Trial]:
    """Try the candidates, one after the other. The first that runs in fp32 makes the vectors for the quality gate."""
    trials: list[Trial] = []
    with tempfile.TemporaryDirectory(prefix="sage-trial-") as scratch:
        reference = Path(scratch) / "reference.npy"
        waiting = list(dict.fromkeys([*references(), *found]))
        while waiting:
            # Those in fp32 that are not needed to compare with come last, since they may be spared.
            needed = not reference.exists()
            candidate = min(waiting, key=lambda one: (one.precision is Precision.FP32) != needed)
            waiting.remove(candidate)
            # The library, and what the settings do not allow, are only for when nothing else made the reference.
            spare = candidate not in found or (wish.backend == AUTO and BACKENDS[candidate.backend].library)
            if spare and not needed:
                continue
            if candidate.precision is Precision.FP32 and (reason := outpaced(trials)):
                trials.append(Trial(candidate, reason))
                continue
            best = max((trial.tokens_per_second for trial in trials), default=0.0)
            budgets = [wish.token_budget or DEFAULT_TOKEN_BUDGET]
            trials.append(_try(candidate, folder, wish, reference, budgets, best, children))
        trials = [trial for trial in trials if trial.candidate in found]
        chosen = choose(trials)
        if chosen is not None and not wish.token_budget:
            # Only now that it is known which, since each budget takes about a second.
            tuned = _try(chosen.candidate, folder, wish, reference, BUDGETS, 0.0, children)
            trials = [tuned if trial is chosen and tuned.passes else trial for trial in trials]
    return trials


def _try(
    candidate: Candidate,
    folder: ModelFolder,
    wish: BackendPreference,
    reference: Path,
    budgets: Sequence[int],
    best_so_far: float,
    children: ChildRunner,
) -> Trial:
    log.info("trying a backend", candidate=str(candidate))
    if candidate.precision is not Precision.FP32 and not reference.exists():
        return Trial(candidate, "nothing here runs the model in fp32 to compare it with")
    request = {
        "folder": str(folder.path),
        "backend": candidate.backend,
        "precision": candidate.precision.value,
        "device": wish.device,
        "streams": wish.streams,
        "threads": wish.threads,
        "budgets": budgets,
        "reference": str(reference),
        "best_so_far": best_so_far,
    }
    try:
        return Trial(candidate, **children.run(_CHILD, request, TRIAL_SECONDS))
    except InternalError as error:
        # It crashed, or did not come to an end: a reason to take another.
        return Trial(candidate, error.message)


def _load(selection: Selection, folder: ModelFolder, wish: BackendPreference, children: ChildRunner) -> Loaded:
    name, runtime = selection.candidate.backend, wish.runtime(selection.candidate.precision, children)
    backend = load_backend(name, folder, runtime)
    children.check()
    try:
        bulk_backend = load_for_bulk(name, folder, runtime)
    except (ConfigurationError, MemoryError) as error:
        log.warning("bulk work shares the interactive streams", backend=str(selection.candidate), error=str(error))
        bulk_backend = None
    return Loaded(backend, bulk_backend, selection)
