# resize.c: the footer of a fixed image is zeroed before the one at the new end is durable
/^static int vhd_resize_fixed_extended(/,/^}/ s/return vhd_resize_flush(r, io, vhd_resize_fixed_zero);/return vhd_resize_fixed_zero(r, io);/
