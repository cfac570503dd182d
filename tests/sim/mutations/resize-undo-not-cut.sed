# resize.c: nor is it cut where it ended
/^static int vhd_resize_undo_fixed_written(/,/^}/ s/vhd_resize_undo_fixed_cut/vhd_resize_done/
