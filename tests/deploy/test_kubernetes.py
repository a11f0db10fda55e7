"""The manifests: valid by Kubernetes' own schemas, as tight as its restricted standard, and true to the service."""

import asyncio
import os
import re
from pathlib import Path

import httpx
import kubernetes_validate
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from service.app import OPEN_PATHS, create_app
from service.settings import Settings, unknown_variables

from .manifests import COMPONENTS, KUBERNETES, container, kustomize, only, render, with_components

VERSIONS = ("1.31", "1.34", "1.37")
"""The oldest that knows everything used here, the first in which all of it is stable, and the newest with a schema."""

pytestmark = pytest.mark.skipif(kustomize() is None, reason="needs kubectl or kustomize")


@pytest.fixture(scope="module")
def base():
    return render(KUBERNETES / "base")


@pytest.fixture(scope="module")
def production():
    return render(KUBERNETES / "overlays" / "production")


@pytest.fixture(scope="module")
def pod(base):
    return only(base, "Deployment")["spec"]["template"]["spec"]


def test_a_canary_is_a_deployment_of_its_own_behind_the_same_service_whose_series_the_rules_know(production):
    canary = render(KUBERNETES / "overlays" / "canary")
    kinds = [each["kind"] for each in canary]
    assert sorted(kinds) == ["ConfigMap", "Deployment"]
    stable, other = only(production, "Deployment"), only(canary, "Deployment")
    for each in canary:
        kubernetes_validate.validate(each, VERSIONS[-1], strict=True)
        assert each["metadata"]["namespace"] == stable["metadata"]["namespace"]
    assert other["metadata"]["name"] != stable["metadata"]["name"]
    # Each Deployment's own pods, by a label that is the other's alone.
    assert other["spec"]["selector"]["matchLabels"]["track"] == "canary"
    labels = other["spec"]["template"]["metadata"]["labels"]
    assert only(production, "Service")["spec"]["selector"].items() <= labels.items()
    (label,) = only(production, "ServiceMonitor")["spec"]["podTargetLabels"]
    assert f'{label}="{labels[label]}"' in (KUBERNETES.parent / "prometheus" / "rules" / "alerts.yml").read_text()
    assert container(canary)["envFrom"][0]["configMapRef"]["name"] == only(canary, "ConfigMap")["metadata"]["name"]


def test_a_canary_with_productions_components_reads_its_states_and_its_keys_and_owns_neither(tmp_path):
    here = os.path.relpath(KUBERNETES, tmp_path)
    canary = yaml.safe_load((KUBERNETES / "overlays" / "canary" / "kustomization.yaml").read_text())
    canary["resources"] = [f"{here}/base"]
    canary["components"] = [f"{here}/components/{name}" for name in ("states", "api-keys")]
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(canary))
    objects = render(tmp_path)
    assert sorted(each["kind"] for each in objects) == ["ConfigMap", "Deployment"]
    volumes = only(objects, "Deployment")["spec"]["template"]["spec"]["volumes"]
    claims = [each["persistentVolumeClaim"]["claimName"] for each in volumes if "persistentVolumeClaim" in each]
    secrets = [each["secret"]["secretName"] for each in volumes if "secret" in each]
    assert (claims, secrets) == (["shelfscore-states"], ["shelfscore-keys"])


@pytest.mark.parametrize("version", VERSIONS)
def test_the_official_schemas_accept_every_object_and_know_every_field(production, version, tmp_path):
    everything = [*production, *with_components(tmp_path, *COMPONENTS)]
    kinds = set()
    for each in everything:
        if each["apiVersion"] != "monitoring.coreos.com/v1":
            kubernetes_validate.validate(each, version, strict=True)
            kinds.add(each["kind"])
    assert kinds == {
        *("Namespace", "ConfigMap", "Deployment", "Service", "PodDisruptionBudget"),
        *("NetworkPolicy", "HorizontalPodAutoscaler", "PersistentVolumeClaim"),
    }


def test_the_official_schemas_refuse_a_field_that_does_not_exist(base):
    wrong = only(base, "PodDisruptionBudget")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(
            {**wrong, "spec": {**wrong["spec"], "maxUnavailible": 1}}, VERSIONS[-1], strict=True
        )


def test_pods_meet_the_restricted_standard_and_more(base, pod):
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "runAsGroup": 10001,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container(base)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False


def test_the_user_is_the_one_of_the_image(pod):
    dockerfile = (KUBERNETES.parents[1] / "Dockerfile").read_text()
    assert f"\nUSER {pod['securityContext']['runAsUser']}\n" in dockerfile


def test_probes_ask_routes_that_need_no_key_on_the_port_of_the_container(base):
    found = container(base)
    (port,) = found["ports"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked = found[probe]["httpGet"]
        assert asked["path"] in OPEN_PATHS
        assert asked["port"] == port["name"]
    assert found["startupProbe"]["httpGet"]["path"] == found["readinessProbe"]["httpGet"]["path"] == "/health/ready"
    assert found["livenessProbe"]["httpGet"]["path"] == "/health/live"


def test_a_pod_has_time_to_stop_serving_drain_and_end(base, pod):
    settings = only(base, "ConfigMap")["data"]
    drain_s = sum(int(settings[f"SHELFSCORE_DRAIN_{name}_MS"]) / 1000 for name in ("DELAY", "TIMEOUT"))
    before_s = container(base)["lifecycle"]["preStop"]["sleep"]["seconds"]
    readiness = container(base)["readinessProbe"]
    assert before_s >= readiness["periodSeconds"] * readiness["failureThreshold"]
    assert pod["terminationGracePeriodSeconds"] > before_s + drain_s


def test_the_quota_is_whole_cores_for_lanes_and_equal_to_the_request(base):
    resources = container(base)["resources"]
    assert resources["limits"] == resources["requests"]
    assert resources["limits"]["cpu"].isdigit()


def test_memory_has_room_for_the_process_and_its_caches(base):
    defaults = Settings.model_fields
    caches = defaults["token_cache_bytes"].default + defaults["state_cache_bytes"].default
    measured_without_states = 246e6 - 63e6  # README, "The process"
    assert container(base)["resources"]["limits"]["memory"] == "1Gi"
    assert measured_without_states + caches < 0.95 * 2**30


@pytest.mark.parametrize("component", [None, *COMPONENTS])
def test_every_setting_is_one_that_the_service_knows_and_accepts(component, tmp_path):
    objects = with_components(tmp_path, *([component] if component else []))
    data = only(objects, "ConfigMap")["data"]
    assert data
    assert unknown_variables(data) == []
    reads_a_file = {"SHELFSCORE_API_KEYS_FILE"}
    Settings(**{name.removeprefix("SHELFSCORE_").lower(): data[name] for name in data.keys() - reads_a_file})


def test_everything_selects_the_pods_and_nothing_else(base):
    labels = only(base, "Deployment")["spec"]["template"]["metadata"]["labels"]
    spread = only(base, "Deployment")["spec"]["template"]["spec"]["topologySpreadConstraints"]
    selectors = [
        only(base, "Deployment")["spec"]["selector"]["matchLabels"],
        only(base, "Service")["spec"]["selector"],
        only(base, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        only(base, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        *(each["labelSelector"]["matchLabels"] for each in spread),
    ]
    assert all(selector == labels for selector in selectors)
    assert {each["topologyKey"] for each in spread} == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}


def test_the_network_policy_lets_the_service_connect_to_nothing(base):
    policy = only(base, "NetworkPolicy")["spec"]
    assert sorted(policy["policyTypes"]) == ["Egress", "Ingress"]
    assert not policy.get("egress")
    assert [port["port"] for rule in policy["ingress"] for port in rule["ports"]] == ["http"]


def test_the_base_scales_by_what_any_cluster_has(base):
    """An autoscaler that cannot read one of its metrics never scales down."""
    assert [each["type"] for each in only(base, "HorizontalPodAutoscaler")["spec"]["metrics"]] == ["Resource"]


def test_the_autoscaler_and_the_adapter_mean_the_same_metric_and_the_service_has_it(tmp_path):
    scaler = only(with_components(tmp_path, "backlog"), "HorizontalPodAutoscaler")
    metrics = scaler["spec"]["metrics"]
    assert [each["type"] for each in metrics] == ["Pods", "Resource"]
    (name,) = [each["pods"]["metric"]["name"] for each in metrics if each["type"] == "Pods"]
    (rule,) = yaml.safe_load((KUBERNETES / "prometheus-adapter.yaml").read_text())["rules"]["custom"]
    assert re.match(rule["seriesQuery"].partition("{")[0] + "$", name)
    assert re.match(rule["name"]["matches"], name)
    assert rule["name"]["as"] == name
    assert name in exposed_metrics()


def test_the_autoscaler_owns_the_number_of_replicas(base):
    scaler = only(base, "HorizontalPodAutoscaler")["spec"]
    assert "replicas" not in only(base, "Deployment")["spec"]
    assert scaler["scaleTargetRef"]["name"] == only(base, "Deployment")["metadata"]["name"]
    assert scaler["minReplicas"] > only(base, "PodDisruptionBudget")["spec"]["maxUnavailable"]


def test_the_scraper_finds_the_service_by_its_labels_and_its_ports_name(production):
    monitor = only(production, "ServiceMonitor")["spec"]
    service = only(production, "Service")
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["jobLabel"] in service["metadata"]["labels"]
    assert {each["port"] for each in monitor["endpoints"]} <= {port["name"] for port in service["spec"]["ports"]}


def test_production_is_one_namespace_that_enforces_the_restricted_standard(production):
    namespace = only(production, "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert {each["metadata"].get("namespace") for each in production if each["kind"] != "Namespace"} == {"shelfscore"}
    assert container(production)["image"].startswith("registry.example.com/shelfscore:")


@pytest.mark.parametrize(("component", "path"), [("states", "/states"), ("api-keys", "/keys")])
def test_what_a_component_mounts_is_read_only_and_where_its_setting_points(component, path, tmp_path):
    objects = with_components(tmp_path, component)
    (mount,) = container(objects)["volumeMounts"]
    assert (mount["mountPath"], mount["readOnly"]) == (path, True)
    (volume,) = only(objects, "Deployment")["spec"]["template"]["spec"]["volumes"]
    assert mount["name"] == volume["name"]
    settings = only(objects, "ConfigMap")
    assert [value for value in settings["data"].values() if Path(value).is_relative_to(path)]
    (reference,) = container(objects)["envFrom"]
    assert reference["configMapRef"]["name"] == settings["metadata"]["name"]


def test_a_changed_setting_changes_the_name_of_the_settings_so_that_pods_roll(base, tmp_path):
    names = {only(objects, "ConfigMap")["metadata"]["name"] for objects in (base, with_components(tmp_path, "states"))}
    assert len(names) == 2


def test_the_gpu_overlay_asks_for_a_gpu_and_the_image_for_it(tmp_path):
    found = container(with_components(tmp_path, "gpu"))
    assert found["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert found["image"].endswith("-gpu")


def exposed_metrics():
    """The names that a scrape shows."""
    app = create_app(Settings(model_dir=KUBERNETES.parents[1] / "models" / "default"))

    async def scrape():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
            return (await client.get("/metrics")).text

    return {family.name for family in text_string_to_metric_families(asyncio.run(scrape()))}
