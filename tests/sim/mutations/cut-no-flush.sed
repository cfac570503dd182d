# space.c: a stale tail is cut before the footer at the new end is durable
/case VHD_PREPARE_CUT_FOOTER:/,/case VHD_PREPARE_CUT_FLUSH:/ s/return vhd_io_set(io, VHD_IO_FLUSH, 0, 0, NULL);/fallthrough;/
