# space.c: a stale tail is not cut off, only a footer written before it
/case VHD_PREPARE_CUT_FLUSH:/,/case VHD_PREPARE_CUT_TRUNCATE:/ s/VHD_IO_TRUNCATE,/VHD_IO_RESERVE,/
