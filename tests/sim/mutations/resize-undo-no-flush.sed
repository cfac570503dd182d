# resize.c: the copy of the old footer is back before the footer at the end is
/^static int vhd_resize_undo_tail_written(/,/^}/ s/return vhd_resize_flush(r, io, vhd_resize_undo_head);/return vhd_resize_undo_head(r, io);/
