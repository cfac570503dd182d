# commit.c: after a failed commit bits of a block that may be seen are written in phase 1
s/ && !nb->exposed;$/;/
