# resize.c: the header leads to the new table before that is durable
/^static int vhd_resize_prepared(/,/^}/ s/return vhd_resize_flush(r, io, vhd_resize_header);/return vhd_resize_header(r, io);/
