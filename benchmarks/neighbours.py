"""Neighbour lists from FAISS beside the exact ones: what they find, and what they cost.

    pip install -c constraints.txt -e '.[selection]'
    python benchmarks/neighbours.py

Lists of some rows of a pool, by exact blocked search and by FAISS's inverted file with more and more of its clusters
searched. Recall is the share of the exact neighbours that a list has. Times are the process's own. The rows are those
of benchmarks/selection_rows.py, invented.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time

import numpy as np
import torch
from selection_rows import KINDS, Rows

from encore.selection.neighbours import faiss_lists, neighbour_lists, recall
from encore.selection.rows import UnitRows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", default=["mixed", "spectrum"], choices=list(KINDS))
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--asked", type=int, default=200, help="rows whose lists are made")
    parser.add_argument("--neighbours", type=int, default=1000)
    parser.add_argument("--probes", type=int, nargs="+", default=[8, 16, 32, 64])
    options = parser.parse_args()
    print(json.dumps({
        "machine": platform.processor() or platform.machine(), "load": os.getloadavg(),
        "threads": torch.get_num_threads(), "torch": torch.__version__, "numpy": np.__version__,
    }), flush=True)  # fmt: skip
    for kind in options.kinds:
        rows = UnitRows(Rows(kind, options.dim).pool(options.rows))
        places = np.random.default_rng(0).choice(options.rows, options.asked, replace=False).tolist()
        began = time.process_time()
        neighbour_lists(rows, options.neighbours, places=places)
        print(
            json.dumps({"kind": kind, "search": "exact", "lists_s": round(time.process_time() - began, 3)}), flush=True
        )
        for probes in options.probes:
            began = time.process_time()
            lists = faiss_lists(rows, options.neighbours, probes=probes)
            made = time.process_time()
            for place in places:
                lists(place)
            ended = time.process_time()
            print(json.dumps({
                "kind": kind, "search": "faiss", "probes": probes, "index_s": round(made - began, 3),
                "lists_s": round(ended - made, 3),
                f"recall_of_{options.neighbours}": round(recall(lists, rows, options.neighbours, places), 4),
                "recall_of_10": round(recall(lists, rows, 10, places), 4),
            }), flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
