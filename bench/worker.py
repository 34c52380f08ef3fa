"""Our worker on the topics of a job: the sources are shared by all runs, the rest is new for each.

python bench/worker.py SERVERS SOURCE_PREFIX PREFIX PARTITIONS HTTP_PORT HOST all|trades
"""

from __future__ import annotations

import sys

from job import contracts  # beside this file

from stream_recon.domain.topics import TopicPlan
from stream_recon.shell import worker
from stream_recon.shell.settings import WorkerSettings

if __name__ == "__main__":
    servers, source_prefix, prefix, partitions, http_port, host, concluding = sys.argv[1:]
    trades_only = concluding == "trades"
    shared = TopicPlan(prefix=source_prefix, partitions=int(partitions))
    names = {f"{origin}.{stream}": name for name, (origin, stream) in shared.sources().items()}
    plan = TopicPlan(prefix=prefix, partitions=int(partitions), names=names)
    settings = WorkerSettings(
        bootstrap=servers,
        group_id=f"{prefix}worker",
        plan=plan,
        contracts=contracts(trades_only=trades_only),
        delta_window_s=0 if trades_only else None,
        host=host,
        http_port=int(http_port),
    )
    sys.exit(worker.run(settings))
