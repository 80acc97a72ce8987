"""A Ray cluster of several nodes on one machine, run by the interpreter that has Ray: `python -m tests.ray_nodes`.

It prints one JSON line for each line it reads: {"address": …} for the head, which has no CPUs; "add CPUS GPUS" starts
a node: {"pid": of its raylet}. At the end of its input it ends them all.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile

from ray.cluster_utils import Cluster

STORE = 80 << 20


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="pray") as folder:
        # the default folder, as `Cluster` notes its address there and makes no other that was named
        os.environ["RAY_TMPDIR"] = folder
        cluster = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 0,
                "num_gpus": 0,
                "include_dashboard": False,
                "object_store_memory": STORE,
                # a lost node is noticed within 2 s
                "_system_config": {"health_check_period_ms": 500, "health_check_failure_threshold": 3},
            },
        )
        print(json.dumps({"address": cluster.address}), flush=True)
        try:
            for line in sys.stdin:
                cpus, gpus = map(int, line.split()[1:])
                node = cluster.add_node(num_cpus=cpus, num_gpus=gpus, object_store_memory=STORE)
                print(json.dumps({"pid": node.all_processes["raylet"][0].process.pid}), flush=True)
        finally:
            cluster.shutdown()


if __name__ == "__main__":
    main()
