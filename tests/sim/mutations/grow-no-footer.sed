# space.c: growth writes no footer at the new end
/case VHD_PREPARE_RESERVE:/,/case VHD_PREPARE_FOOTER:/ s/return vhd_io_footer(io, &p->footer, p->new_tail);/return vhd_io_set(io, VHD_IO_RESERVE, p->new_tail, 0, NULL);/
