# space.c: tidy cuts the file before the footer at the new end is durable
/case VHD_TIDY_FOOTER:/,/case VHD_TIDY_FLUSH:/ s/return vhd_io_set(io, VHD_IO_FLUSH, 0, 0, NULL);/fallthrough;/
