# map.c: a failed allocation gives back the slot and keeps the entry, as qemu does
/^static void vhd_map_rollback(/,/^}/ s/WRITE_ONCE(img->bat.*;//
