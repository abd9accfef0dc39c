"""Start ``torchrun -m olympiad train ...`` on the nodes of a Ray cluster, all at once or not at all.

ray job submit --working-dir . -- python docs/launch/ray_train.py --nodes 8 --gpus 8 -- configs/large-7b.toml
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys

import ray
from ray.util import get_node_ip_address, placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy


@ray.remote(num_cpus=0)
def node_address() -> str:
    return get_node_ip_address()


@ray.remote(max_retries=0)
def torchrun(arguments: list[str]) -> int:
    """One node's launcher; what Ray sends when the job is stopped reaches the processes as SIGTERM."""
    process = subprocess.Popen([sys.executable, "-m", "torch.distributed.run", *arguments])
    try:
        return process.wait()
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=600)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--gpus", type=int, default=8, help="of each node; 0: processes on the CPU")
    parser.add_argument("--processes", type=int, help="on each node; as many as GPUs if absent")
    parser.add_argument("--cpus", type=int, default=8, help="of each node")
    parser.add_argument("--port", type=int, default=29_400)
    parser.add_argument("train", nargs="+", help="the recipe, and what else olympiad train takes")
    options = parser.parse_args()

    ray.init(None if os.environ.get("RAY_ADDRESS") else "local")  # a job has RAY_ADDRESS; else this machine alone
    bundle = {"CPU": float(options.cpus)} | ({"GPU": float(options.gpus)} if options.gpus else {})
    group = placement_group([bundle] * options.nodes, strategy="STRICT_SPREAD")  # one bundle a node
    ray.get(group.ready())
    places = [PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=node) for node in range(options.nodes)]
    head = ray.get(node_address.options(scheduling_strategy=places[0]).remote())
    meeting = [
        f"--nnodes={options.nodes}",
        "--rdzv-backend=c10d",
        f"--rdzv-endpoint={head}:{options.port}",
        f"--rdzv-id={ray.get_runtime_context().get_job_id()}",
    ]
    command = [
        f"--nproc-per-node={options.processes or options.gpus or 1}",
        "--max-restarts=3",
        "--shutdown-timeout=300",
        *["-m", "olympiad", "train", *options.train, "--resume", "auto"],
    ]
    runs = []
    for node, place in enumerate(places):
        host = f"--rdzv-conf=is_host={int(node == 0)}"  # whatever names and addresses the first node has
        start = ["--standalone"] if options.nodes == 1 else [*meeting, host]
        resources = {"num_cpus": options.cpus, "num_gpus": options.gpus}
        runs.append(torchrun.options(**resources, scheduling_strategy=place).remote([*start, *command]))
    return max(ray.get(runs))


if __name__ == "__main__":
    sys.exit(main())
