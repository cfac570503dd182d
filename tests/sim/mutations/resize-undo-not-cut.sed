# resize.c: nor is it cut where it ended
/^static int vhd_resize_undo_fixed_cut(/,/^}/ s/vhd_resize_undo_extend/vhd_resize_done/
