#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Content of an image by what "vhdctl map --json" says where it is.

  vhdctl map --json IMAGE | mapread.py OUT IMAGE
"""

import json
import os
import sys


def main(out_path, image):
    out = os.open(out_path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
    end = 0
    for run in json.load(sys.stdin):
        assert run["start"] == end, "a gap at %d" % end
        end += run["length"]
        if run["zero"]:
            continue
        with open(run.get("filename", image), "rb") as source:
            data = os.pread(source.fileno(), run["length"], run["offset"])
        assert len(data) == run["length"], "beyond the end of the file"
        os.pwrite(out, data, run["start"])
    os.ftruncate(out, end)


if __name__ == "__main__":
    main(*sys.argv[1:])
