"""What the tests break, so that each alert has its real cause, and how it is mended."""

from __future__ import annotations

import json
import time

import yaml
from live import PATIENCE_S, ROOT, edit, sync
from observability.stack import Env, soon
from watching import Watch

PODS = ("hog", "crasher", "deaf")
"""One near its memory limit, one that ends, one that is scraped and does not answer."""
SCRIPTS = {
    "hog": "dd if=/dev/zero of=/memory/full bs=1M count=60 && sleep 3600",
    "crasher": "sleep 20",
    "deaf": "sleep 3600",
}
LIMIT = "64Mi"
"""The hog fills 60 MiB of it: 94%."""
DEAF = {"prometheus.io/scrape": "true", "prometheus.io/port": "8080"}
SLOW = "std::thread::sleep(std::time::Duration::from_millis(400));"
"""Beyond the 0.25 s of HighLatencyP95."""
PROBATION_S = 6
"""A process that ends within swap.probation_ms is rolled back; afterwards it is started again."""


def place(env: Env) -> None:
    """Make the Deployments that each cause an alert, from the image that the pet store has."""
    path = "jsonpath={.spec.template.spec.containers[0].image}"
    image = env.kubectl("get", "deployment", "petstore", "-o", path)
    env.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(_made(one, image) for one in PODS))


def _made(name: str, image: str) -> dict[str, object]:
    container = {
        "name": name,
        "image": image,
        "imagePullPolicy": "Never",
        "command": ["/bin/sh", "-c", SCRIPTS[name]],
        "resources": {"limits": {"memory": LIMIT}},
        "volumeMounts": [{"name": "memory", "mountPath": "/memory"}],
        "ports": [{"containerPort": 8080}],
    }
    memory = {"name": "memory", "emptyDir": {"medium": "Memory"}}
    labels = {"app": name}
    pod = {
        "terminationGracePeriodSeconds": 0,
        "containers": [container],
        "volumes": [memory],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels, "annotations": DEAF if name == "deaf" else {}},
                "spec": pod,
            },
        },
    }


def remove(env: Env) -> None:
    """Take them away; again does nothing."""
    env.kubectl("delete", "deployment", *PODS, "--ignore-not-found", "--wait=false")


def save_errors(env: Env) -> None:
    """Save handlers of which one fails and one is slow."""
    controllers = env.loop.app / "controllers"
    edit(controllers / "list_pets.rs", "let store = store();", f"{SLOW}\n    let store = store();")
    failing = 'if request.id == 2 {\n        return Err(Problem::new(500, "a bug"));\n    }\n    '
    edit(controllers / "get_pet.rs", "let missing =", f"{failing}let missing =")


def save_what_does_not_run(env: Env) -> None:
    """Save a configuration with which the binary ends: it is rolled back, and stays stale."""
    path = env.root / "examples/petstore/pet_store/config/config.yaml"
    path.write_text("security: [", encoding="utf-8")


def mend(env: Env, watch: Watch) -> None:
    """Save everything as it was, and wait until it is served."""
    watch.saved(lambda: sync(ROOT, env.root))


def kill_process(env: Env) -> None:
    """End the pet store's process as a crash would; the supervisor starts it again."""
    time.sleep(PROBATION_S)  # nothing tells that the probation is over
    pod = env.kubectl("get", "pods", "-l", "app.kubernetes.io/name=petstore", "-o", "name").strip()
    path = f"/api/v1/namespaces/{env.loop.name}/pods/{pod.removeprefix('pod/')}:9909/proxy/status"

    def running() -> int:
        running = json.loads(env.kubectl("get", "--raw", path))["running"]
        return int(running["pid"]) if running else 0

    killed = running()
    env.kubectl("exec", pod, "--", "/bin/sh", "-c", f"kill -9 {killed}")
    soon(lambda: running() not in {0, killed}, PATIENCE_S)


def scale(env: Env, replicas: int) -> None:
    """Ask for so many pods of the pet store, and wait until they are so many."""
    env.kubectl("scale", "deployment", "petstore", f"--replicas={replicas}")
    if replicas:
        env.kubectl("rollout", "status", "deployment", "petstore", f"--timeout={PATIENCE_S}s")
        return
    chosen = ("-l", "app.kubernetes.io/name=petstore")
    soon(lambda: not env.kubectl("get", "pods", *chosen, "-o", "name"), PATIENCE_S)
