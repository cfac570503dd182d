# space.c: slots are handed out before the new footer is durable
/case VHD_PREPARE_FOOTER:/,/case VHD_PREPARE_FLUSH:/ s/return vhd_io_set(io, VHD_IO_FLUSH, 0, 0, NULL);/return vhd_prepare_finish(p);/
