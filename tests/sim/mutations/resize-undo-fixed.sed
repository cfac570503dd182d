# resize.c: a fixed image whose growth has failed keeps the footer at the new end
/^static int vhd_resize_fixed_zero(/,/^}/ s/r->undo = vhd_resize_undo_fixed;/r->undo = NULL;/
