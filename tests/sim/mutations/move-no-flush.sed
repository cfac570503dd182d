# move.c: the copy is not made durable before the entry leads there
/^static int vhd_move_seek(/,/^}/ s/return vhd_io_set(io, VHD_IO_FLUSH, 0, 0, NULL);/return vhd_move_switch(m);/
s/^static int vhd_move_seek(/static int vhd_move_switch(struct vhd_move *m);\n&/
