# commit.c: a new block of a differencing image counts as full once it is committed
s/^\t\tif (img->type != VHD_TYPE_DIFFERENCING)$/\t\tif (1)/
