"""Run the gateway and count the Python frames of ours: `python -m tests.tidy.counted FILE`.

Counted are calls and resumptions in `gateway`, in `plugins` and in a plugin's own file, on the
thread of the loop. A line on standard input asks for the count so far and for the modules of
`plugins` that are loaded.
"""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from gateway.cli import main

ROOT = Path(__file__).resolve().parents[2]
OURS = (str(ROOT / "gateway"), str(ROOT / "plugins"))


def run(config: str) -> None:
    own = (*OURS, str(Path(config).parent))
    is_ours: dict[str, bool] = {}
    entered = 0

    def count(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal entered
        if event == "call":
            name = frame.f_code.co_filename
            known = is_ours.get(name)
            if known is None:
                known = is_ours[name] = name.startswith(own)
            entered += known

    def answer() -> None:
        for _ in sys.stdin:
            loaded = sorted(name for name in sys.modules if name.startswith("plugins."))
            print(json.dumps({"entered": entered, "plugins": loaded}), flush=True)

    threading.Thread(target=answer, daemon=True).start()
    sys.argv = ["weir", "run", "--config", config]
    sys.setprofile(count)
    main()


if __name__ == "__main__":
    run(sys.argv[1])
