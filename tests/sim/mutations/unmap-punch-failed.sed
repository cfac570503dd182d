# unmap.c: a slot that could not be punched is taken for a hole
/^static int vhd_punch_next(/,/^}/ s/err && !p->img->on_device ? &sp->gaps/0 ? \&sp->gaps/
