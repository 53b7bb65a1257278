"""An edge of the ring with what it needs: composed the same way in the gateway, the client and the dataflow worker."""

from __future__ import annotations

from dataclasses import dataclass

from sage_common.clock import Clock, MonotonicClock
from sage_common.config import load
from sage_control_plane.request.classification import ClassificationRules, RequestClassifier
from sage_mesh.classification import ClassificationSettings
from sage_mesh.directory import EngineDirectory
from sage_mesh.edge.edge import Edge, EdgeTimings
from sage_middleware.features import load_feature_extractor
from sage_platform.ring import Ring


@dataclass(frozen=True, slots=True)
class OpenEdge:
    """A started edge.

    Attributes:
        directory: the engines that the edge knows.
        classifier: used when no classifier runs.
        feature_extractor: ``"native"`` or ``"python"``; used when no classifier runs.
    """

    edge: Edge
    directory: EngineDirectory
    classifier: RequestClassifier
    feature_extractor: str

    async def close(self) -> None:
        """End what is in flight with an error and stop."""
        await self.edge.close()
        await self.directory.stop()


async def open_edge(
    ring: Ring,
    edge_id: str,
    *,
    clock: Clock | None = None,
    timings: EdgeTimings | None = None,
    rules: ClassificationRules | None = None,
) -> OpenEdge:
    """Start an edge on ``ring``.

    Args:
        edge_id: unique among all edges; frames come to its subject.
        rules: for classifying in this process while no classifier runs; the settings of section ``classification``
            when not given, which are the classifiers' own.
    """
    clock = clock or MonotonicClock()
    extractor, implementation = load_feature_extractor()
    directory = EngineDirectory(ring, edge_id, clock)
    rules = load(ClassificationSettings).rules() if rules is None else rules
    classifier = RequestClassifier(extractor, rules)
    edge = Edge(ring, edge_id, directory, classifier, clock, timings)
    await edge.start()
    await directory.start()
    return OpenEdge(edge, directory, classifier, implementation)
