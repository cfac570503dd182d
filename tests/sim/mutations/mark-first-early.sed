# space.c: the bitmap of the first new slot is written over the footer before the new one is durable
/^static int vhd_prepare_bitmaps(/,/^}/ s/p->bitmaps = 0;/p->bitmaps = -1;/
