# resize.c: a fixed image has its new size while the old footer still lies in it
/^static int vhd_resize_fixed_extend(/,/^}/ s/&r->img->footer/\&r->footer/
