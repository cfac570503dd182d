# resize.c: the new footer is written before the copy of the old one is blank, for good
/^static int vhd_resize_blanked(/,/^}/ s/return vhd_resize_flush(r, io, vhd_resize_tail);/return vhd_resize_tail(r, io);/
