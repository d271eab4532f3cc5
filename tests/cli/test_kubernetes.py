"""The manifest for Kubernetes: what of it can be checked without Kubernetes."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import yaml

from bench.engine.config import compose_grid

_MANIFEST = Path(__file__).parents[2] / "docs" / "running" / "rayjob.yaml"
# Fields of KubeRay's published API reference (ray.io/v1); authOptions came with 1.5.1.
_JOB = {
    *("activeDeadlineSeconds", "backoffLimit", "rayClusterSpec", "submitterPodTemplate"),
    *("metadata", "clusterSelector", "submitterConfig", "managedBy", "deletionStrategy"),
    *("entrypoint", "runtimeEnvYAML", "jobId", "submissionMode", "entrypointResources"),
    *("entrypointNumCpus", "entrypointNumGpus", "ttlSecondsAfterFinished"),
    *("shutdownAfterJobFinishes", "suspend"),
}
_CLUSTER = {
    *("suspend", "managedBy", "autoscalerOptions", "headServiceAnnotations", "authOptions"),
    *("enableInTreeAutoscaling", "gcsFaultToleranceOptions", "headGroupSpec", "rayVersion"),
    "workerGroupSpecs",
}
_AUTOSCALER = {
    *("resources", "image", "imagePullPolicy", "securityContext", "idleTimeoutSeconds"),
    *("upscalingMode", "version", "env", "envFrom", "volumeMounts"),
}
_HEAD = {"template", "headService", "enableIngress", "rayStartParams", "serviceType"}
_GROUP = {
    *("suspend", "groupName", "replicas", "minReplicas", "maxReplicas", "idleTimeoutSeconds"),
    *("rayStartParams", "template", "scaleStrategy", "numOfHosts"),
}


def _documents() -> dict[str, dict[str, Any]]:
    return {d["kind"]: d for d in yaml.safe_load_all(_MANIFEST.read_text(encoding="utf-8"))}


def test_it_names_only_fields_that_kuberay_has() -> None:
    job = _documents()["RayJob"]
    assert job["apiVersion"] == "ray.io/v1"
    cluster = job["spec"]["rayClusterSpec"]
    assert job["spec"].keys() <= _JOB
    assert cluster.keys() <= _CLUSTER
    assert cluster["autoscalerOptions"].keys() <= _AUTOSCALER
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["headGroupSpec"].keys() <= _HEAD
    for group in cluster["workerGroupSpecs"]:
        assert group.keys() <= _GROUP
    for part in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        # Parameters of `ray start` are texts.
        assert all(isinstance(value, str) for value in part["rayStartParams"].values())


def test_it_grows_from_nothing_behind_a_token() -> None:
    cluster = _documents()["RayJob"]["spec"]["rayClusterSpec"]
    assert cluster["enableInTreeAutoscaling"] is True
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert [group["minReplicas"] for group in cluster["workerGroupSpecs"]] == [0, 0]
    assert tuple(map(int, cluster["rayVersion"].split("."))) >= (2, 52, 0)  # tokens came with it


def test_pods_mount_what_is_there_and_run_one_image() -> None:
    documents = _documents()
    claim = documents["PersistentVolumeClaim"]["metadata"]["name"]
    cluster = documents["RayJob"]["spec"]["rayClusterSpec"]
    images = set()
    for part in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = part["template"]["spec"]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert volumes["work"]["persistentVolumeClaim"]["claimName"] == claim
        for container in pod["containers"]:
            images.add(container["image"])
            assert {mount["name"] for mount in container["volumeMounts"]} == volumes.keys()
    assert len(images) == 1


def test_its_run_is_one_that_this_version_reads() -> None:
    job = _documents()["RayJob"]["spec"]
    program, verb, *words = shlex.split(job["entrypoint"])
    assert (program, verb) == ("invbench", "run")
    grid = compose_grid(words)
    assert grid.settings.backend.address == "auto"  # type: ignore[union-attr]
    assert str(grid.settings.store).startswith("/work/")
    most = sum(g["maxReplicas"] for g in job["rayClusterSpec"]["workerGroupSpecs"])
    assert grid.settings.backend.max_workers == most  # type: ignore[union-attr]
