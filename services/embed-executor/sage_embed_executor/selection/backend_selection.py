"""Choose a backend for a model, by trying the candidates, and load it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from sage_common.errors import ConfigurationError, InternalError, SageError
from sage_common.logging import get_logger
from sage_embed_executor.backends.backend import EmbeddingBackend, Runtime
from sage_embed_executor.backends.registry import AUTO, BACKENDS, load_backend, load_for_bulk, no_backend, problem_with
from sage_embed_executor.child_process import ChildRunner
from sage_embed_executor.exports.export_cache import EXPORT_FAILED
from sage_embed_executor.exports.export_form import Precision
from sage_embed_executor.exports.fingerprint import model_fingerprint
from sage_embed_executor.models.model_folder import ModelFolder
from sage_embed_executor.selection.candidates import Candidate, Selection, Trial, candidates, choose, outpaced
from sage_embed_executor.selection.selection_cache import read_selection, selection_path, write_selection

log = get_logger(__name__)

# Longest trial, an export included.
TRIAL_SECONDS = 900.0
# Token budgets that are tried for the chosen backend.
BUDGETS = (256, 512, 1024, 2048, 4096)
DEFAULT_TOKEN_BUDGET = 512
_CHILD = "sage_embed_executor.selection.trial_child"


@dataclass(frozen=True, slots=True)
class BackendPreference:
    """What the settings ask of the backend.

    Attributes:
        backend: a backend's name, or ``auto``.
        precision: a precision's name, or ``auto``.
        device: see Runtime, as for ``streams`` and ``threads``.
        token_budget: most tokens in a batch, with padding; 0 to measure the best.
    """

    backend: str = AUTO
    precision: str = AUTO
    device: str = "cpu"
    streams: int = 1
    threads: int = 1
    token_budget: int = 0

    def runtime(self, precision: Precision, children: ChildRunner) -> Runtime:
        """Return the runtime of a candidate of this precision."""
        return Runtime(precision, self.streams, self.threads, self.device, children)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model in its backend, and the selection that led to it.

    Attributes:
        bulk_backend: for bulk work; None where ``backend`` computes on the calling thread, at its priority.
    """

    backend: EmbeddingBackend
    bulk_backend: EmbeddingBackend | None
    selection: Selection


def select_and_load(folder: ModelFolder, preference: BackendPreference, children: ChildRunner) -> Loaded:
    """Load a model by the preference; what it leaves open is measured, or read from an earlier start. Blocks.

    Where the preference is ``auto``, or an export cannot be written, a model whose backend fails is served by torch in
    fp32, with a warning.

    Raises:
        ConfigurationError: no backend that is installed and allowed runs the model and passes the quality gate.
        UnavailableError: ``children`` was stopped.
    """
    try:
        selection = select(folder, preference, children)
        return _load(selection, folder, preference, children)
    except (ConfigurationError, InternalError) as error:
        if preference.precision not in (AUTO, Precision.FP32.value) and error.code != EXPORT_FAILED:
            raise
        if preference.backend != AUTO and error.code != EXPORT_FAILED:
            raise
        problem: SageError = error
    for candidate in references():
        try:
            selection = Selection(candidate, preference.token_budget or DEFAULT_TOKEN_BUDGET)
            loaded = _load(selection, folder, preference, children)
        except ConfigurationError as error:
            log.warning("the model cannot be loaded", by=str(candidate), error=error.message)
            continue
        log.warning("serving the model in another way than chosen", by=str(candidate), instead_of=problem.message)
        return loaded
    raise problem


def load_before_measuring(folder: ModelFolder, preference: BackendPreference, children: ChildRunner) -> Loaded | None:
    """Load a model by torch in fp32, which needs no trial, where the choice is left open and not measured yet. Blocks.

    Returns:
        None where ``select_and_load`` has nothing to measure, where the preference names a backend or a precision, or
        where torch cannot run the model.
    """
    if preference.backend != AUTO or preference.precision != AUTO:
        return None
    if _known_selection(folder, preference, candidates(preference.backend, preference.precision)[0]) is not None:
        return None
    for candidate in references():
        if BACKENDS[candidate.backend].library:
            continue
        try:
            selection = Selection(candidate, preference.token_budget or DEFAULT_TOKEN_BUDGET)
            return _load(selection, folder, preference, children)
        except ConfigurationError as error:
            log.info("not loaded before the backends are measured", by=str(candidate), error=error.message)
    return None


def select(folder: ModelFolder, preference: BackendPreference, children: ChildRunner) -> Selection:
    """Return the selection for a model. Blocks, and raises, as ``select_and_load``."""
    found, problems = candidates(preference.backend, preference.precision)
    if not found:
        extras = [entry.extra for name, entry in BACKENDS.items() if preference.backend in (AUTO, name)]
        raise no_backend(folder, problems, extras)
    known = _known_selection(folder, preference, found)
    if known is not None:
        return known
    trials = _try_all(folder, preference, found, children)
    for trial in trials:
        log.info("tried", result=str(trial), token_budget=trial.token_budget, memory_mb=trial.memory_mb)
    best = choose(trials)
    if best is None:
        raise ConfigurationError(
            f"no backend that is installed runs the model in {folder.path} as set (backend {preference.backend}, "
            f"precision {preference.precision}): {'; '.join(map(str, trials))}. "
            "SAGE_EMBED_EXECUTOR_PRECISION=fp32 asks for no reduced precision",
            code=EXPORT_FAILED if any(trial.disk for trial in trials) else "no_backend",
        )
    selection = Selection(
        best.candidate,
        preference.token_budget or best.token_budget,
        best.tokens_per_second,
        best.cosine,
        best.memory_mb,
        measured=True,
        trials=tuple(trials),
    )
    # Candidates that a full disk or another process kept from being tried are tried again at the next start.
    if not any(trial.transient for trial in trials):
        write_selection(_path(folder, preference), selection)
    return selection


def _known_selection(folder: ModelFolder, preference: BackendPreference, found: list[Candidate]) -> Selection | None:
    """Return the selection that needs no trial; None where the candidates have to be tried."""
    fast = [candidate for candidate in found if not BACKENDS[candidate.backend].library] or found
    if len(fast) == 1 and fast[0] in references():
        # A single candidate that is its own reference.
        return Selection(fast[0], preference.token_budget or DEFAULT_TOKEN_BUDGET)
    stored = read_selection(_path(folder, preference))
    return stored if stored is not None and stored.candidate in found else None


def _path(folder: ModelFolder, preference: BackendPreference) -> Path:
    return selection_path(model_fingerprint(folder.path), repr(astuple(preference)))


def references() -> list[Candidate]:
    """Return the installed candidates that define the vectors and need no export: torch in fp32."""
    return [
        Candidate(name, Precision.FP32)
        for name, entry in BACKENDS.items()
        if entry.reference and not problem_with(name, Precision.FP32)
    ]


def _try_all(
    folder: ModelFolder, preference: BackendPreference, found: list[Candidate], children: ChildRunner
) -> list[Trial]:
    """Try the candidates one by one. The first that runs in fp32 writes the reference vectors for the quality gate."""
    trials: list[Trial] = []
    with tempfile.TemporaryDirectory(prefix="sage-trial-") as scratch:
        reference = Path(scratch) / "reference.npy"
        untried = list(dict.fromkeys([*references(), *found]))
        while untried:
            # Once there is a reference, fp32 comes last, since its trials may be skipped.
            needed = not reference.exists()
            candidate = min(untried, key=lambda candidate: (candidate.precision is Precision.FP32) != needed)
            untried.remove(candidate)
            allowed = candidate in found
            # The library, and candidates that the settings do not allow, are only tried for lack of a reference.
            library = preference.backend == AUTO and BACKENDS[candidate.backend].library
            if (library or not allowed) and not needed:
                continue
            if not allowed:
                # It cannot be chosen: its vectors are needed, its speed is not.
                _try(candidate, folder, preference, reference, (), 0.0, children)
                continue
            if candidate.precision is Precision.FP32 and (reason := outpaced(trials)):
                trials.append(Trial(candidate, reason))
                continue
            best = max((trial.tokens_per_second for trial in trials), default=0.0)
            budgets = [preference.token_budget or DEFAULT_TOKEN_BUDGET]
            trials.append(_try(candidate, folder, preference, reference, budgets, best, children))
        chosen = choose(trials)
        if chosen is not None and not preference.token_budget:
            # Only for the chosen candidate, since each budget takes about a second.
            tuned = _try(chosen.candidate, folder, preference, reference, BUDGETS, 0.0, children)
            trials = [tuned if trial is chosen and tuned.passes else trial for trial in trials]
    return trials


def _try(
    candidate: Candidate,
    folder: ModelFolder,
    preference: BackendPreference,
    reference: Path,
    budgets: Sequence[int],
    best_so_far: float,
    children: ChildRunner,
) -> Trial:
    log.info("trying a backend", candidate=str(candidate))
    if candidate.precision is not Precision.FP32 and not reference.exists():
        return Trial(candidate, "no installed backend runs the model in fp32 to compare it with")
    request = {
        "folder": str(folder.path),
        "backend": candidate.backend,
        "precision": candidate.precision.value,
        "device": preference.device,
        "streams": preference.streams,
        "threads": preference.threads,
        "budgets": budgets,
        "reference": str(reference),
        "best_so_far": best_so_far,
    }
    try:
        return Trial(candidate, **children.run(_CHILD, request, TRIAL_SECONDS))
    except InternalError as error:
        # It crashed or timed out; another candidate may run.
        return Trial(candidate, error.message)


def _load(selection: Selection, folder: ModelFolder, preference: BackendPreference, children: ChildRunner) -> Loaded:
    name, runtime = selection.candidate.backend, preference.runtime(selection.candidate.precision, children)
    backend = load_backend(name, folder, runtime)
    children.raise_if_stopped()
    try:
        bulk_backend = load_for_bulk(name, folder, runtime)
    except (ConfigurationError, MemoryError) as error:
        log.warning("bulk work shares the interactive streams", backend=str(selection.candidate), error=str(error))
        bulk_backend = None
    return Loaded(backend, bulk_backend, selection)
