# space.c: a slot whose zeroing failed is handed out
/^static int vhd_prepare_zeroed(/,/^}/ s/^\tif (err)$/\tif (0)/
