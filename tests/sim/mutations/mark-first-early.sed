# space.c: bitmaps are written, one over the old footer, before the new one is durable
/case VHD_PREPARE_FOOTER:/,/case VHD_PREPARE_FLUSH:/ s/return vhd_io_set(io, VHD_IO_FLUSH, 0, 0, NULL);/return vhd_prepare_bitmaps(p, io);/
