"""Invoke tasks.

Another project's tasks.py needs two lines:

    from kindloop.tasks import collection
    ns = collection()
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from invoke.collection import Collection

from kindloop import loading
from kindloop.config import Config
from kindloop.errors import KindloopError
from kindloop.tasks import dev, environments, load, looking, observe, project, steps, swap, watch

__all__ = [
    "collection",
    "dev",
    "environments",
    "load",
    "looking",
    "observe",
    "project",
    "steps",
    "swap",
    "watch",
]


def collection() -> Collection:
    """Every task of kindloop; `build.<stage>` for each stage that kindloop.yaml names.

    Never raises for a faulty kindloop.yaml: `invoke --list` works, and each task then shows
    what is wrong.
    """
    root = Collection(*dev.TASKS, *environments.TASKS, *looking.TASKS, *watch.TASKS, *load.TASKS)
    for name, tasks in (
        ("bake", steps.BAKE),
        ("build", steps.build_tasks(_config())),
        ("cluster", steps.CLUSTER),
        ("config", project.TASKS),
        ("image", steps.IMAGE),
        ("k8s", steps.K8S),
        ("observe", observe.TASKS),
        ("swap", swap.TASKS),
        ("test", steps.TEST),
    ):
        root.add_collection(_namespace(name, tasks))
    names = frozenset(root.task_names)
    for full in names:
        root[full].name_in_full, root[full].all_names = full, names
    return root


def _namespace(name: str, tasks: Iterable[Any]) -> Collection:
    made = Collection(name)
    for one in tasks:
        made.add_task(one)
    return made


def _config() -> Config | None:
    try:
        return loading.load()
    except KindloopError:
        return None
