"""Where the classifier's objects meet."""

from __future__ import annotations

from sage.classifier.v1 import classifier_pb2, classifier_pb2_grpc
from sage_classifier.config import ClassifierSettings
from sage_classifier.metrics import ClassifierMetrics
from sage_classifier.ring import ClassifierRing
from sage_classifier.service import ClassifierServicer
from sage_common.clock import MonotonicClock
from sage_common.config import load
from sage_common.logging import get_logger
from sage_control_plane.request.classification import RequestClassifier
from sage_mesh.class_ceilings import class_ceilings
from sage_mesh.classification import ClassificationSettings
from sage_mesh.directory import EngineDirectory
from sage_mesh.first_heartbeats import hear_executors
from sage_middleware.features import load_feature_extractor
from sage_platform import subjects
from sage_platform.kv import open_bucket
from sage_platform.operator_records import tenant_records
from sage_platform.registry import TTL_SECONDS
from sage_platform.service_host import ServiceHost, Stop, run

log = get_logger(__name__)


async def start(host: ServiceHost[ClassifierSettings]) -> Stop:
    """Wire the service."""
    clock = MonotonicClock()
    metrics = ClassifierMetrics()
    extractor, implementation = load_feature_extractor()
    log.info("feature extractor chosen", implementation=implementation)
    directory = EngineDirectory(host.ring, host.instance_id, clock)
    classifier = RequestClassifier(extractor, load(ClassificationSettings).rules())
    tenants = tenant_records(host.js)
    tenants.on_change(lambda: classifier.set_class_ceilings(class_ceilings(tenants.records.values())))
    host.on_reconnect(tenants.reconnected)
    ring = ClassifierRing(
        host.ring,
        classifier,
        directory,
        clock,
        metrics.requests,
        metrics.seconds,
    )
    await directory.start()
    await tenants.start()
    await hear_executors(directory, await open_bucket(host.js, subjects.BUCKET_SERVICES, ttl_seconds=TTL_SECONDS))
    await ring.start()
    descriptor = classifier_pb2.DESCRIPTOR.services_by_name["ClassifierService"]
    host.grpc.add(
        classifier_pb2_grpc.add_ClassifierServiceServicer_to_server, ClassifierServicer(ring), descriptor.full_name
    )

    async def stop() -> None:
        await ring.close()
        await directory.stop()
        await tenants.stop()

    return stop


def main() -> None:
    """Run the service."""
    run("classifier", ClassifierSettings, start)


if __name__ == "__main__":
    main()
