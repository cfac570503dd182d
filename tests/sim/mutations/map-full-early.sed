# map.c: a new block is full, and nothing to be committed, with its first write
/^static bool vhd_map_done_new(/,/^}/ s/^\t\tdirtied = true;/&\n\t\tset_bit(nb->block, img->full);\n\t\tvhd_new_remove(img, nb);/
