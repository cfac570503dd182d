# space.c: slots are handed out before the new footer is durable
/^static int vhd_prepare_next_bitmap(/,/^}/ s/return vhd_io_set(io, VHD_IO_FLUSH, 0, 0, NULL);/return vhd_prepare_finish(p);/
