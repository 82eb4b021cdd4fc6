"""A fresh process: imports what a product does, opens an artifact, answers once. Run as a file, by `starts`.

It must import nothing but the standard library, numpy and the runtime: what it takes is what is measured.
Moments are of the monotonic clock, which all processes of a machine share; they are printed in ns.
"""

import sys

if __name__ == "__main__":
    del sys.path[0]  # this file's folder, whose names are none to import by

import importlib
import json
import time
from typing import Any


def main(request: dict[str, Any]) -> None:
    """Open and answer; print the moments."""
    import numpy as np

    import paring_runtimes

    importlib.import_module(request["library"])
    imported = time.monotonic_ns()
    session = paring_runtimes.load(request["path"], engine=request["engine"], threads=request["threads"])
    loaded = time.monotonic_ns()
    with np.load(request["feeds"]) as file:
        feeds = {name: file[name] for name in file.files}
    asked = time.monotonic_ns()
    session.run(feeds)
    answered = time.monotonic_ns()
    print(json.dumps({"imported": imported, "loaded": loaded, "asked": asked, "answered": answered}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
