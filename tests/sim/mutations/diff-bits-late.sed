# commit.c: bits of a new block of a differencing image are written beside its entry
s/^\treturn nb && nb->state == VHD_NEW_TAKEN && !nb->exposed;$/\treturn !nb \&\& !img;/
