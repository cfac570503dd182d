# commit.c: bits of a differencing image are written in phase 1, whosesoever block it is
s/^\treturn nb && nb->state == VHD_NEW_TAKEN && !nb->exposed;$/\treturn img->type == VHD_TYPE_DIFFERENCING || nb;/
