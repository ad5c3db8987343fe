"""A stage that starts itself in two processes and trains nothing; run by test_launch.py in an empty folder.

`python launched.py MODE`: what the second process does.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from encore import launch, ranks, tracking
from encore.errors import UserError


@tracking.stage_main
@launch.reported()
def main() -> None:
    mode = sys.argv[1]
    settings = launch.LaunchSettings(2, str(Path(__file__).parents[2] / "conf/accelerate/ddp.yaml"))
    if launch.is_due(settings):
        launch.restart("launched", settings, "cpu")
        return
    with ranks.start(out="out", stage="toy.train", experiment="toy", seed=0, params={"mode": mode}) as run:
        rank = int(os.environ["RANK"])
        Path(f"started-{rank}").write_text(str(os.getpid()))
        run.curve({"loss": 1.0}, step=1)
        run.count(tokens_trained=int(ranks.summed({"tokens": 3.0 + rank})["tokens"]))
        if mode == "wrong" and rank == 1:
            raise UserError("the second process found a mistake: correct it")
        if mode == "defect" and rank == 1:
            raise ValueError("a defect of the second")
        if mode == "killed" and rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if mode == "waits":
            run.commit("first")
            Path(f"waits-{rank}").touch()
            time.sleep(60)
        ranks.wait()
        run.result({"rank": rank})


if __name__ == "__main__":
    main()
