# map.c: a bitmap counts as written although the write that brought it has failed
s/^\tif (hold->marks \&\& !err)$/\tif (hold->marks)/
