# unmap.c: the slot is free when its entry is cleared in memory
/^static void vhd_unmap_clear(/,/^}/ s/^\tclear_bit/\tvhd_space_give(img, img->bat[block]);\n&/
