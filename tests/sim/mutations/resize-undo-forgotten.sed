# resize.c: when a footer cannot be written the copy of the old one stays blank
s/^\tr->undo = vhd_resize_undo_footers;$//
