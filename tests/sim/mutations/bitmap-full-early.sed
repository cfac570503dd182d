# bitmap.c: a bitmap with bits not yet durable is dropped when all are set
/^static bool vhd_bitmap_idle(/,/^}/ s/!bm->dirty && //
