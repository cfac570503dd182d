# space.c: slots count as marked although writing their bitmaps has failed
/^static int vhd_prepare_next_bitmap(/,/^}/ s/p->marked &= !err;//
